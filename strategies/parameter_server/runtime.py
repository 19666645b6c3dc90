"""How do workers train through parameter servers that hold the weights?

The chief coordinates: it schedules units of work, a window of steps each, on whichever worker is free. A
worker pulls weights and slots, takes all steps of its window alone, and pushes the result: the
delta-pushing of Downpour SGD (Dean et al., "Large Scale Distributed Deep Networks", 2012), with the
optimizer's steps taken on the worker. Windows overlap, so a worker may start from weights that are some
windows old: that is the asynchrony. All weights are one vector, cut into one shard for each parameter
server; a shard's weights and slots are sent as one vector.

`shards.py` has what a server holds and how a push changes it.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.compiled_loop import block_sums, flatten, fused_steps, unflatten
from strategies.errors import Resumable
from strategies.parameter_server.shards import Shard, cut, join, split
from strategies.parameter_server.worker_recovery import (
    await_created,
    create_on_every_worker,
    recover_workers_independently,
)
from strategies.rendezvous.membership import Membership
from strategies.runtime import NUM_SUMS, Program, ReplicaInput, Runtime, State

# Kept until the process exits: when a coordinator is freed, TensorFlow disconnects from every server,
# which takes long and logs errors where a server has exited already.
_KEPT: list["ParameterServerRuntime"] = []

# Steps in a unit where the config leaves it open. A unit costs about 15 ms of CPU time, however short.
_WINDOW = 20
_UNITS_PER_REPORT = 4  # Per worker, at least: at a report all wait for the last unit.


class ParameterServerRuntime(Runtime):
    """Asynchronous data parallelism. The chief's drives the steps; those of all other tasks serve."""

    name = "parameter_server"
    sync_mode = "async"
    num_replicas = 1  # Per step: one worker takes it.
    local_replicas = range(1)

    def __init__(self, reason: str, cluster: ClusterSpec, peers: Membership):
        self.reason = reason
        self.serves_only = cluster.task.type in ("worker", "ps")
        self._cluster = cluster
        if not self.serves_only:
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec(cluster.as_dict()),
                task_type=cluster.task.type,
                task_id=cluster.task.index,
                rpc_layer="grpc",
            )
            strategy = tf.distribute.ParameterServerStrategy(resolver)
            self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
            recover_workers_independently(self._coordinator, peers)
            _KEPT.append(self)

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "ParameterServerRuntime":
        del devices  # TensorFlow's server uses every device.
        assert peers is not None  # It is a strategy of several tasks.
        return cls(choice.reason, cluster, peers)

    def serve(self, wait: Callable[[], int]) -> int:
        # Kept in a variable: the server lives as long as the object.
        server = tf.distribute.Server(
            tf.train.ClusterSpec(self._cluster.as_dict()),
            job_name=self._cluster.task.type,
            task_index=self._cluster.task.index,
            protocol="grpc",
        )
        exit_code = wait()
        del server
        return exit_code

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        self._program = program
        self._train, self._test = train, test
        self._shapes = [weight.shape for weight in state.weights]
        flat, slots = join(state)
        servers, workers = len(self._cluster.jobs["ps"]), len(self._cluster.jobs["worker"])
        self._sizes = [len(part) for part in np.array_split(flat, servers)]
        ends = np.cumsum(self._sizes)
        self._shards = [
            Shard(
                *cut(flat, slots, end - size, end),
                num_steps,
                workers,
                device=f"/job:ps/replica:0/task:{index}/device:CPU:0",
                name=f"shard_{index}",
            )
            for index, (size, end) in enumerate(zip(self._sizes, ends, strict=True))
        ]
        self._scheduled = 0
        self._is_warm = False
        self._collected = np.zeros(NUM_SUMS)
        self._resident = self._on_every_worker(train.resident)
        self._test_resident = tuple(tf.constant(array) for array in test.resident)

    def steps_per_loop(self, report_every: int) -> int:
        workers = len(self._cluster.jobs["worker"])
        return max(1, min(_WINDOW, report_every // (_UNITS_PER_REPORT * workers)))

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        if not self._is_warm:
            self._warm_up(first_step, elements[0])
        self._schedule(first_step, num_steps, elements[0])
        self._scheduled += num_steps
        return stop

    def collect(self) -> np.ndarray:
        with _lost_servers():
            self._coordinator.join()
            applied = [int(shard.applied_steps.numpy()) for shard in self._shards]
            total = self._shards[0].sums.numpy()
        if applied != [self._scheduled] * len(applied):
            raise AssertionError(f"{self._scheduled} steps were scheduled, {applied} were applied")
        sums = total - self._collected
        self._collected = total
        return sums

    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        weights = [tf.constant(weight) for weight in self.state().weights]
        rows = [
            self._evaluation(weights, self._test_resident, elements[0]).numpy()
            for elements in batches
        ]
        return np.concatenate(rows).astype(np.float64)

    def restore(self, state: State) -> None:
        flat, slots = join(state)
        ends = np.cumsum(self._sizes)
        with _lost_servers():
            for shard, size, end in zip(self._shards, self._sizes, ends, strict=True):
                shard.assign(*cut(flat, slots, end - size, end))
        self._scheduled = 0
        self._collected = np.zeros(NUM_SUMS)

    def state(self) -> State:
        with _lost_servers():
            parts, slots = zip(*[shard.arrays() for shard in self._shards], strict=True)
        return split(np.concatenate(parts), slots, self._shapes)

    def _on_every_worker(self, arrays: tuple):
        """An iterator per worker that returns the whole arrays each time, without copying them."""

        def dataset():
            options = tf.data.Options()
            options.autotune.enabled = False
            return tf.data.Dataset.from_tensors(arrays or (0,)).repeat().with_options(options)

        return iter(self._coordinator.create_per_worker_dataset(dataset))

    def _schedule(self, first_step: int, num_steps: int, element: tuple) -> None:
        steps = tf.constant([first_step, num_steps])
        self._coordinator.schedule(self._unit, args=(self._resident, steps, element))

    def _warm_up(self, first_step: int, element: tuple) -> None:
        """Compiles on every worker before any takes a step, and on a recovered one before it takes more.

        A worker's first unit takes seconds, in which another worker takes a thousand steps. The first,
        largest steps of training would then be added to weights that are far ahead of them.
        """
        unit = (self._resident, tf.constant([first_step, 0]), element)
        self._compiled = create_on_every_worker(self._coordinator, self._unit, unit)
        with _lost_servers():
            await_created(self._compiled)
        self._is_warm = True

    @tf.function(autograph=False)
    def _unit(self, resident, steps, element):
        """A window of steps, on one worker. `steps`: int32 [2], the first step and their number."""
        stacked_batches = self._train.stacked_batches(next(resident), element)
        pulled = [shard.pull() for shard in self._shards]
        values = [one.values for one in pulled]
        pushed = self._compiled_window(values, pulled[0].counts, stacked_batches, steps[1])
        return [
            shard.push(steps, before, after)
            for shard, before, after in zip(self._shards, pulled, pushed, strict=True)
        ]

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_window(self, values, counts, stacked_batches, num_steps):
        """For each shard the vector to push, after `num_steps` steps from these values."""
        parts = [
            shard.layout.unpack(own, counts)
            for shard, own in zip(self._shards, values, strict=True)
        ]
        weights, *kinds = [self._joined(kind) for kind in zip(*parts, strict=True)]
        slots = [list(own) for own in zip(*kinds, strict=True)]
        weights, slots, sums = fused_steps(
            self._program, weights, slots, stacked_batches, num_steps
        )
        # Concatenated only after the loop: XLA would fuse the loop's arithmetic into the concatenation.
        kinds = [self._sharded(kind) for kind in (weights, *zip(*slots, strict=True))]
        return [
            tf.concat([shard.layout.pack(*own), sums], 0)
            for shard, own in zip(self._shards, zip(*kinds, strict=True), strict=True)
        ]

    def _joined(self, parts: tuple) -> list:
        """One kind of slot, or the weights, joined from all shards: an array for each weight."""
        if parts[0].shape.rank == 0:
            return [parts[0]] * len(self._shapes)
        return unflatten(tf.concat(parts, 0), self._shapes)

    def _sharded(self, arrays: list) -> list:
        """One kind of slot, or the weights, cut into one part for each shard."""
        if arrays[0].shape.rank == 0:
            return [arrays[0]] * len(self._sizes)
        return tf.split(flatten(arrays), self._sizes)

    @tf.function(autograph=False)
    def _evaluation(self, weights, resident, element):
        return self._compiled_sums(weights, self._test.stacked_batches(resident, element))

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_sums(self, weights, stacked_batches):
        return block_sums(self._program, weights, stacked_batches)


@contextlib.contextmanager
def _lost_servers() -> Iterator[None]:
    """Raises Resumable in place of TensorFlow's error about a lost parameter server."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise Resumable(
            "a parameter server was lost; run the same command again to resume from the last "
            f"checkpoint. ({str(error).splitlines()[0]})"
        ) from None
