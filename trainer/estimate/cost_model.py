"""How fast would N workers train, in each mode of agreement?

`CostModel.row` adds what a step computes, what an agreement exchanges, and the wait for the slowest of N
workers. The parts are measured on this machine (`calibrate.py`), the link is given. docs/plan.md has the
formulas and their sources.
"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Mapping

import numpy as np

from strategies.collectives.leaf_runs import LeafRuns
from trainer.estimate import traffic as traffic_lib
from trainer.estimate.traffic import Link, Traffic

ENOUGH = 0.5  # Below this efficiency the exchange has eaten the gain.
_SAME = 1.02  # Speeds that differ by less than this are equal.


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Seconds that were measured here, on a CPU that was otherwise idle or was not.

    Attributes:
      call_s, example_s: a step of n examples takes `call_s + n * example_s`.
      spread: standard deviation of a step's time, divided by its mean.
      turn_s: what a step takes longer that exchanges its gradients, without the exchange itself.
      agree_s: what an agreement of replicas that train apart takes, without exchange and coding.
      code_s: to code, decode and add a replica's update, by `sync.compression`.
      message_s, byte_s: a message takes `message_s`, and each of its bytes `byte_s`, on the loopback.
      window_s: what a window through parameter servers takes longer than its steps; None: not measured.
    """

    call_s: float
    example_s: float
    spread: float
    turn_s: float
    agree_s: float
    code_s: Mapping[str, float]
    message_s: float
    byte_s: float
    window_s: float | None = None

    def step_s(self, examples: float) -> float:
        return self.call_s + examples * self.example_s


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is sent: `gradients`, `update` and `values` are numbers, `messages` bytes by compression.

    `values`: of all parameter servers, weights and slots. `sums`: the numbers that follow a push.
    """

    gradients: int
    update: int
    messages: Mapping[str, int]
    values: int
    sums: int


@dataclasses.dataclass(frozen=True)
class Work:
    """What is divided: a global batch, its blocks, logical replicas, or the clients of a round.

    `grows`: each worker has such a batch, so that the global batch grows with the workers. `clients`: 0
    where the data has none; `client_steps`: those of each in a round; `shares`: the most clients.
    `examples`: of an epoch, at whose end there always is an agreement; 0: epochs do not end.
    """

    batch: int
    blocks: int
    replicas: int
    grows: bool = False
    clients: int = 0
    client_steps: int = 1
    shares: int = 0
    servers: int = 1
    examples: int = 0

    def mean_interval(self, longest: int, batch: int) -> float:
        """Steps between two agreements of which each epoch ends with one."""
        per_epoch = math.ceil(self.examples / batch)
        return per_epoch / math.ceil(per_epoch / longest) if per_epoch else longest


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to agree. `interval`: the steps between two agreements."""

    mode: str
    compression: str = "none"
    interval: int = 1

    @property
    def name(self) -> str:
        """As it is named in `--modes`."""
        return self.mode if self.compression == "none" else f"{self.mode}:{self.compression}"

    @property
    def sentence(self) -> str:
        every = f" every {self.interval} steps" if self.interval > 1 else ""
        coded = f" as {self.compression}" if self.compression != "none" else ""
        return f"{self.mode}{coded}{every}"


@dataclasses.dataclass(frozen=True)
class Row:
    """N workers in one mode: seconds are of a whole interval, bytes and messages of its agreement.

    `shortest_interval`: with which the efficiency is `ENOUGH`; 0: there is none.
    """

    workers: int
    variant: Variant
    compute_s: float
    exchange_s: float
    straggler_s: float
    traffic: Traffic
    examples_per_s: float
    efficiency: float
    shortest_interval: int


@dataclasses.dataclass(frozen=True)
class CostModel:
    """The model of one config on one kind of worker and link."""

    measured: Calibration
    sizes: Sizes
    work: Work
    link: Link

    def row(self, variant: Variant, workers: int) -> Row | None:
        """None where that number of workers cannot divide the work in this mode."""
        parts = self._parts(variant, workers)
        if not parts:
            return None
        compute_s, exchange_s, straggler_s, traffic, examples = parts
        rate = examples / (compute_s + exchange_s + straggler_s)
        shortest = self._shortest(variant, workers)
        efficiency = rate / (workers * self.single_rate)
        return Row(
            workers,
            variant,
            compute_s,
            exchange_s,
            straggler_s,
            traffic,
            rate,
            efficiency,
            shortest,
        )

    @property
    def single_rate(self) -> float:
        """Examples per second of one process that exchanges nothing."""
        return self.work.batch / self.measured.step_s(self.work.batch)

    def _parts(self, variant: Variant, workers: int) -> tuple | None:
        """Seconds of compute, exchange and wait, the traffic, and the examples, of an interval."""
        if variant.mode == "gradients":
            return self._gradients(workers)
        if variant.mode == "async_window":
            return self._window(variant, workers)
        return self._apart(variant, workers)

    def _gradients(self, workers: int) -> tuple | None:
        work, measured = self.work, self.measured
        times = workers if work.grows else 1
        batch, blocks = work.batch * times, work.blocks * times
        if workers > blocks:
            return None
        runs = LeafRuns.even(blocks, workers)
        traffic = traffic_lib.all_reduce(self.sizes.gradients, runs)
        compute_s = measured.step_s(batch / blocks * max(runs.counts))
        if workers > 1:
            compute_s += measured.turn_s
        return *self._agreed(traffic, compute_s, 1, workers), traffic, batch

    def _apart(self, variant: Variant, workers: int) -> tuple | None:
        work, measured = self.work, self.measured
        if variant.mode == "federated":
            replicas, each = max(work.clients, workers), work.batch
            interval: float = variant.interval
            if replicas > work.shares:
                return None
        else:
            batch = work.batch * (workers if work.grows else 1)
            replicas = max(work.replicas, workers)
            interval = work.mean_interval(variant.interval, batch)
            each, rest = divmod(batch, replicas)
            if rest:
                return None
        runs = LeafRuns.even(replicas, workers)
        code_s = measured.agree_s
        if variant.compression == "none":
            traffic = traffic_lib.all_reduce(self.sizes.update, runs)
        else:
            traffic = traffic_lib.coded(self.sizes.messages[variant.compression], runs)
            code_s += replicas * measured.code_s[variant.compression]
        steps = max(runs.counts) * interval
        compute_s = steps * measured.step_s(each) + code_s
        examples = replicas * each * interval
        return *self._agreed(traffic, compute_s, steps, workers), traffic, examples

    def _agreed(
        self, traffic: Traffic, compute_s: float, steps: float, workers: int
    ) -> tuple[float, float, float]:
        """The seconds of an agreement for which all wait, after `steps` steps of each worker."""
        wait_s = largest_of(workers) * self.measured.spread * compute_s / math.sqrt(steps)
        return compute_s, self._exchange_s(traffic), wait_s

    def _window(self, variant: Variant, workers: int) -> tuple | None:
        work, measured = self.work, self.measured
        if measured.window_s is None:
            return None
        traffic = traffic_lib.window(self.sizes.values, self.sizes.sums, work.servers)
        interval = work.mean_interval(variant.interval, work.batch)
        compute_s = interval * measured.step_s(work.batch) + measured.window_s
        exchange_s = self.link.seconds(traffic)
        # Workers begin a report together, and connections share a link evenly: so they stay together,
        # and each direction of a server's link carries the windows of all of them at once.
        shared = max(0.0, workers / work.servers - 1)
        wait_s = shared * self.link.transfer_s(traffic.bytes)
        return compute_s, exchange_s, wait_s, traffic, workers * interval * work.batch

    def _exchange_s(self, traffic: Traffic) -> float:
        here = traffic.messages * self.measured.message_s + traffic.bytes * self.measured.byte_s
        return self.link.seconds(traffic) + here

    def _shortest(self, variant: Variant, workers: int) -> int:
        """The shortest interval with which the efficiency is `ENOUGH`; 0: there is none."""
        if variant.mode in ("gradients", "federated"):
            return 0
        for power in range(21):
            longer = dataclasses.replace(variant, interval=1 << power)
            parts = self._parts(longer, workers)
            assert parts is not None
            if parts[-1] / sum(parts[:3]) >= ENOUGH * workers * self.single_rate:
                return longer.interval
        return 0


def best(rows: list[Row]) -> Row:
    """The fastest row that is efficient enough; of equal ones the first."""
    good = [row for row in rows if row.efficiency >= ENOUGH] or rows
    fastest = max(row.examples_per_s for row in good)
    return next(row for row in good if row.examples_per_s * _SAME >= fastest)


@functools.cache
def largest_of(number: int) -> float:
    """The expected maximum of N standard normal numbers.

    E max = ∫ (1 - F(x)^n) dx over x > 0, minus ∫ F(x)^n dx over x < 0.
    """
    if number == 1:
        return 0.0
    x = np.linspace(0.0, 9.0, 1801)
    cdf = statistics.NormalDist().cdf
    above, below = (np.array([cdf(sign * one) ** number for one in x]) for sign in (1, -1))
    heights = 1 - above - below
    return float((heights[1:] + heights[:-1]).sum() / 2 * (x[1] - x[0]))
