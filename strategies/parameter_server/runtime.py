"""How do workers train through parameter servers that hold the weights?

The chief coordinates: it schedules units of work, a window of steps each, on whichever worker is free. A
worker pulls the state, takes all steps of its window alone, and pushes the result: the
delta-pushing of Downpour SGD (Dean et al., "Large Scale Distributed Deep Networks", 2012), with the
optimizer's steps taken on the worker. Windows overlap, so a worker may start from weights that are some
windows old: that is the asynchrony. All weights are one vector, cut into one shard for each parameter
server; a shard's weights and slots, and its part of the layer state, are sent as one vector.

`shards.py` has what a server holds and how a push changes it, `layer_state.py` what belongs to no weight.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.compiled_loop import block_sums, flatten, fused_steps, graph_function, unflatten
from strategies.errors import Resumable
from strategies.parameter_server.layer_state import LooseArrays
from strategies.parameter_server.shards import Shard, cut, join, split
from strategies.parameter_server.worker_recovery import (
    await_created,
    create_on_every_worker,
    recover_workers_independently,
)
from strategies.rendezvous.membership import Membership
from strategies.runtime import Key, Program, ReplicaInput, Runtime, State

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
    adds_within_step = True  # A worker has the whole batch.

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
        self._loose = LooseArrays(state)
        self._servers = len(self._cluster.jobs["ps"])
        self._shards = [
            Shard(
                *part,
                num_steps=num_steps,
                num_workers=len(self._cluster.jobs["worker"]),
                num_sums=program.num_sums,
                device=f"/job:ps/replica:0/task:{index}/device:CPU:0",
                name=f"shard_{index}",
                has_moments=any(np.ndim(slot) for own in state.slots for slot in own),
            )
            for index, part in enumerate(self._parts(state))
        ]
        self._sizes = [shard.layout.num_weights for shard in self._shards]
        self._loose_sizes = [shard.layout.num_loose for shard in self._shards]
        self._compiled_window = graph_function(program, self._window)
        self._compiled_sums = graph_function(program, self._block_sums)
        self._scheduled = 0
        self._is_warm = False
        self._collected = np.zeros(program.num_sums)
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
        state = tf.nest.map_structure(tf.constant, self.state().parts)
        rows = [
            self._evaluation(state, self._test_resident, elements[0]).numpy()
            for elements in batches
        ]
        return np.concatenate(rows).astype(np.float64)

    def restore(self, state: State) -> None:
        with _lost_servers():
            for shard, part in zip(self._shards, self._parts(state), strict=True):
                shard.assign(*part)
        self._scheduled = 0
        self._collected = np.zeros(self._program.num_sums)

    def state(self) -> State:
        with _lost_servers():
            parts, slots = zip(*[shard.arrays() for shard in self._shards], strict=True)
            loose, ints = zip(*[shard.loose_arrays() for shard in self._shards], strict=True)
        cut_state = split(np.concatenate(parts), slots, self._shapes)
        arrays = self._loose.split(np.concatenate(loose), ints[0])
        own, layer_state = self._loose.restored(
            cut_state.slots, [array.numpy() for array in arrays]
        )
        return State(cut_state.weights, own, layer_state)

    def _parts(self, state: State) -> list[tuple]:
        """What each shard holds of a state: weights, slots, loose floats and loose integers."""
        flat, slots = join(self._loose.without(state))
        floats, ints = self._loose.join(self._loose.of(state))
        sizes = [len(part) for part in np.array_split(flat, self._servers)]
        ends, parts = np.cumsum(sizes), np.array_split(floats, self._servers)
        # Integers are few, so the first shard holds them all.
        return [
            (*cut(flat, slots, end - size, end), part, ints if end == size else ints[:0])
            for size, end, part in zip(sizes, ends, parts, strict=True)
        ]

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
        pushed, moved = self._compiled_window(values, pulled[0].counts, stacked_batches, steps)
        return [
            shard.push(steps, before, after, moved)
            for shard, before, after in zip(self._shards, pulled, pushed, strict=True)
        ]

    def _window(self, values, counts, stacked_batches, steps):
        """The steps of a unit, from these values.

        Returns for each shard the vector to push, and by how much its counts have changed.
        """
        parts = [
            shard.layout.unpack(own, counts)
            for shard, own in zip(self._shards, values, strict=True)
        ]
        weights, *kinds = [self._joined(kind) for kind in zip(*parts, strict=True)]
        slots = [list(own) for own in zip(*kinds, strict=True)] or [[] for _ in weights]
        floats = [shard.layout.loose(own) for shard, own in zip(self._shards, values, strict=True)]
        ints = self._shards[0].layout.loose_ints(counts)
        slots, layer_state = self._loose.restored(
            slots, self._loose.split(tf.concat(floats, 0), ints)
        )
        state = weights, slots, layer_state
        first = Key(steps[0], 0)
        state, sums = fused_steps(self._program, state, stacked_batches, steps[1], first)
        weights, slots, layer_state = state
        floats, ints_after = self._loose.joined([*self._loose.slots_of(slots), *layer_state])
        # Concatenated only after the loop: XLA would fuse the loop's arithmetic into the concatenation.
        kinds = [self._sharded(kind) for kind in (weights, *self._kinds(slots))]
        pushed = [
            tf.concat([shard.layout.pack(*own), part, sums], 0)
            for shard, own, part in zip(
                self._shards,
                zip(*kinds, strict=True),
                tf.split(floats, self._loose_sizes),
                strict=True,
            )
        ]
        own = [] if self._loose.slots_of(slots) else slots[0]
        after = tf.concat([self._shards[0].layout.counts(own), ints_after], 0)
        return pushed, after - counts

    def _kinds(self, slots: list) -> list:
        """Each kind of slot, for all weights, where slots are cut like the weights."""
        return [] if self._loose.slots_of(slots) else list(zip(*slots, strict=True))

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
    def _evaluation(self, state, resident, element):
        return self._compiled_sums(state, self._test.stacked_batches(resident, element))

    def _block_sums(self, state, stacked_batches):
        return block_sums(self._program, state, stacked_batches)


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
