"""What do a step, an agreement and an exchange of this config take on this machine?

`calibrate` runs the real compiled step of the config, alone, beside a second worker that computes
nothing, and as a logical replica, and times them.
"""

import contextlib
import dataclasses
import time

import numpy as np
import tensorflow as tf

from strategies import create
from strategies.apart import replica_state
from strategies.apart.coded_sum import CodedSum
from strategies.apart.round import Round
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.all_reduce import SocketAllReduce
from strategies.collectives.leaf_runs import LeafRuns
from strategies.compiled_loop import tail
from strategies.multi_worker import MultiWorkerRuntime
from strategies.runtime import Runtime
from strategies.state import State
from strategies.sync.compression import KINDS
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig
from trainer.config.sync_schema import FederatedConfig, SyncConfig
from trainer.data.dataset import Dataset
from trainer.estimate.cost_model import Calibration, Sizes
from trainer.estimate.second_worker import TASKS, SecondWorker
from trainer.model import reduction_blocks
from trainer.training import agreements, assemble
from trainer.training.parts import Computation

_LOOPS, _STEPS = 30, 50  # Timed loops, and the most steps of one.
# Large models take fewer steps in a loop, and fewer loops.
_LOOP_S, _ENOUGH_S, _FEWEST = 0.2, 5.0, 5
_REPEATS = 10
_SMALL, _LARGE = 256, 1 << 20  # Numbers in the vectors that time an exchange.


def calibrate(
    config: ExperimentConfig, dataset: Dataset, devices: list[str]
) -> tuple[Calibration, Sizes]:
    """The seconds and the sizes of this config's steps and agreements."""
    config = _plain(config)
    blocks = num_blocks(config)
    whole = _alone(config, dataset, devices)
    call_s, example_s = _line(config, dataset, devices, whole.step_s, blocks)
    with SecondWorker() as second:
        small_s, large_s = second.seconds(_SMALL), second.seconds(_LARGE)
        byte_s = max(0.0, large_s - small_s) / (4 * (_LARGE - _SMALL))
        message_s = max(0.0, small_s - 4 * _SMALL * byte_s)
        turn_s = 0.0
        if blocks > 1:
            turn_s = _beside(second, config, dataset, devices[0]).step_s
            carried = config.data.global_batch_size / blocks * -(-blocks // 2)
            exchange_s = message_s + 4 * whole.gradients * byte_s
            turn_s = max(0.0, turn_s - exchange_s - call_s - carried * example_s)
    apart = _alone(_apart(config, "none"), dataset, devices)
    kinds = [kind for kind in KINDS if kind != "none"]
    measured = [_coding(apart.computation, config, kind) for kind in kinds]
    calibration = Calibration(
        call_s,
        example_s,
        whole.spread,
        turn_s,
        max(0.0, apart.step_s - whole.step_s),
        {kind: seconds for kind, (seconds, _) in zip(kinds, measured, strict=True)},
        message_s,
        byte_s,
    )
    program = whole.computation.program
    state = State(*program.shapes())
    # Counts of steps are 8 bytes each, and few.
    values = sum(array.size for array in state.flat_arrays if array.dtype.kind == "f")
    round_ = _round(apart.computation, config, "none")
    sizes = Sizes(
        whole.gradients,
        round_.size,
        {kind: size for kind, (_, size) in zip(kinds, measured, strict=True)},
        values,
        program.num_sums,
    )
    return calibration, sizes


def num_blocks(config: ExperimentConfig) -> int:
    """The blocks of a global batch."""
    wanted = config.train.reduction_blocks
    return reduction_blocks.num_blocks(config.data.global_batch_size, wanted)


@dataclasses.dataclass(frozen=True)
class _Timed:
    """What a runtime computed. `gradients`: the numbers that replicas exchange in a step."""

    computation: Computation
    step_s: float
    spread: float

    @property
    def gradients(self) -> int:
        program = self.computation.program
        return sum(int(np.prod(shape)) for shape in program.term_shapes) + tail(program)


def _plain(config: ExperimentConfig) -> ExperimentConfig:
    """The same steps, of one replica, without what belongs to a run."""
    privacy = config.privacy
    for name, is_set, usual in (
        ("privacy.secure_aggregation", privacy.secure_aggregation, False),
        ("privacy.homomorphic", privacy.homomorphic, False),
        ("model.batch_norm", config.model.batch_norm == "global", "block"),
    ):
        if is_set:
            raise ConfigError(
                f"`{name}` must be {short_json(usual)} for `plan`, which does not know the cost of its "
                "sums. Received: another; leave it out."
            )
    train = config.train
    if config.sync.mode == "federated":
        train = dataclasses.replace(train, reduction_blocks=1)  # A batch is one client's.
        privacy = type(privacy)()
    return dataclasses.replace(
        config,
        sync=SyncConfig(mode="gradients"),
        federated=FederatedConfig(),
        privacy=privacy,
        data=dataclasses.replace(config.data, partition="none", balance="equal", worker_speeds=()),
        train=dataclasses.replace(
            train,
            steps=2 * _STEPS * (_LOOPS + 2),
            eval_every_epochs=0,
            checkpoint_every_steps=10**9,
        ),
    )


def _line(
    config: ExperimentConfig, dataset: Dataset, devices: list[str], whole_s: float, blocks: int
) -> tuple[float, float]:
    """Seconds of a step, and of each example in it, from the whole batch and from one block."""
    batch = config.data.global_batch_size
    if blocks == 1:
        return 0.0, whole_s / batch
    one = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, global_batch_size=batch // blocks),
        train=dataclasses.replace(config.train, reduction_blocks=1),
    )
    block_s = _alone(one, dataset, devices).step_s
    example_s = max(0.0, whole_s - block_s) / (batch - batch // blocks)
    return max(0.0, whole_s - batch * example_s), example_s


def _alone(config: ExperimentConfig, dataset: Dataset, devices: list[str]) -> _Timed:
    """One process, which exchanges nothing."""
    choice = Choice("mirrored", "to measure it", agreement=agreements.of(config))
    return _timed(config, dataset, create.create(choice, ClusterSpec(), devices[:1]))


def _apart(config: ExperimentConfig, compression: str) -> ExperimentConfig:
    """One logical replica, which agrees with itself after each step."""
    sync = SyncConfig(mode="parameters", replicas=1, every_steps=1, compression=compression)
    return dataclasses.replace(config, sync=sync)


def _beside(
    second: SecondWorker, config: ExperimentConfig, dataset: Dataset, device: str
) -> _Timed:
    """The first of two workers, whose peer answers at once."""
    runtime = MultiWorkerRuntime("to measure it", device, 1, 0, second.exchange)
    return _timed(config, dataset, runtime, second)


def _timed(
    config: ExperimentConfig,
    dataset: Dataset,
    runtime: Runtime,
    second: SecondWorker | None = None,
) -> _Timed:
    computation = assemble.computation(config, dataset, runtime)
    computation = computation.with_steps_per_loop(min(_STEPS, computation.schedule.steps_per_loop))
    program, schedule = computation.program, computation.schedule
    state = replica_state.begin(agreements.of(config), program.initial_state())
    train, test = computation.train_input, computation.test_input.pipeline
    runtime.start(program, state, train, test, schedule.total_steps)
    found = _Timed(computation, 0.0, 0.0)
    times: list[float] = []
    steps = 1
    with contextlib.closing(train.loop_inputs(schedule.loops(0))) as inputs:
        for number, (loop, elements) in enumerate(zip(schedule.loops(0), inputs, strict=False)):
            if loop.num_steps < steps:
                continue  # The last of an epoch may be shorter.
            if second:
                second.join(found.gradients, train.runs, steps)
            began = time.perf_counter()
            runtime.run(loop.first_step, steps, elements, stop=False)
            runtime.collect()
            took = time.perf_counter() - began
            if number == 1:  # In the first one it was compiled.
                steps = max(1, min(schedule.steps_per_loop, int(_LOOP_S / took)))
            elif number:
                times.append(took)
            if len(times) == _LOOPS or (len(times) >= _FEWEST and sum(times) > _ENOUGH_S):
                break
    seconds = np.array(times)
    spread = seconds.std() / seconds.mean() * steps**0.5
    # The median, as differences of two such times are taken.
    step_s = float(np.median(seconds)) / steps
    return _Timed(computation, step_s, float(spread))


def _round(computation: Computation, config: ExperimentConfig, compression: str) -> Round:
    agreement = agreements.of(_apart(config, compression))
    return Round(computation.program, agreement, State(*computation.program.shapes()))


def _coding(computation: Computation, config: ExperimentConfig, kind: str) -> tuple[float, int]:
    """Seconds to code, decode and add a replica's update, and its bytes, for normal numbers."""
    round_ = _round(computation, config, kind)
    random = np.random.default_rng(0)
    update = [tf.constant(random.normal(size=n), tf.float32) for n in round_.update_sizes]
    sent, _ = round_.channel.send(update, [tf.zeros_like(one) for one in update], 10**6, 0)
    flat = np.concatenate([one.numpy() for one in sent])
    leaf = np.concatenate([flat, np.ones(round_.size - flat.size, np.float32)])
    summation = CodedSum(SocketAllReduce.alone(TASKS[0]), 0, LeafRuns((1,)))
    summation.round = round_
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        summation.total([leaf])
        times.append(time.perf_counter() - began)
    assert summation.update_bytes is not None
    return float(np.median(times)), summation.update_bytes
