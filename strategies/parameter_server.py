"""How do workers train through parameter servers that hold the weights?

The chief coordinates: it hands out units of work, a step each, and the workers take them as they
come. All weights are one vector, cut into as many shards as there are parameter servers; a worker
pulls the shards, computes the gradient of its batch, and pushes each server its part, which applies
it there. So steps overlap and a gradient may be some steps old: that is the asynchrony.

Nothing is lost or done twice. An update runs under its shard's lock, because an optimizer reads
before it writes and two pushes at once would lose one; and it is marked in the shard's record, because
a unit whose worker died is handed out again and may have been applied in part.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster import ClusterSpec
from strategies.errors import Resumable
from strategies.membership import Membership
from strategies.mirrored import block_sums, flatten, unflatten
from strategies.runtime import NUM_SUMS, Feed, Program, Runtime, State

# When it is freed TensorFlow takes leave of every server, at length and in errors where one is gone
# already. The process ends without that.
_UNTIL_THE_END: list["ParameterServerRuntime"] = []


class ParameterServerRuntime(Runtime):
    """Asynchronous data parallelism. The chief holds one of these and drives; the rest serve."""

    name = "parameter_server"
    sync_mode = "async"
    num_replicas = 1  # Per step: a step is one worker's.
    local_replicas = range(1)
    max_steps_per_loop = 1

    def __init__(self, reason: str, cluster: ClusterSpec):
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
            _UNTIL_THE_END.append(self)

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "ParameterServerRuntime":
        del devices, peers  # TensorFlow's server takes every device, and makes its connections.
        return cls(choice.reason, cluster)

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
        self, program: Program, state: State, train: Feed, test: Feed, num_steps: int
    ) -> None:
        self._program = program
        self._train, self._test = train, test
        self._shapes = [weight.shape for weight in state.weights]
        flat, slots = join(state)
        servers = len(self._cluster.jobs["ps"])
        self._sizes = [len(part) for part in np.array_split(flat, servers)]
        ends = np.cumsum(self._sizes)
        self._shards = [
            _Shard(index, program, *cut(flat, slots, end - size, end), num_steps)
            for index, (size, end) in enumerate(zip(self._sizes, ends, strict=True))
        ]
        self._scheduled = 0
        self._collected = np.zeros(NUM_SUMS)
        self._resident = self._on_every_worker(train.resident)
        self._test_resident = tuple(tf.constant(array) for array in test.resident)

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        self._coordinator.schedule(
            self._unit, args=(self._resident, tf.constant(first_step), elements[0])
        )
        self._scheduled += num_steps
        return stop

    def collect(self) -> np.ndarray:
        with _lost_servers():
            self._coordinator.join()
            applied = [int(shard.applied_steps.numpy()) for shard in self._shards]
            total = self._shards[0].sums.numpy()
        if applied != [self._scheduled] * len(applied):
            raise AssertionError(f"{self._scheduled} steps were handed out, {applied} were applied")
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

    def state(self) -> State:
        with _lost_servers():
            flat = np.concatenate([shard.weights.numpy() for shard in self._shards])
            slots = [[slot.numpy() for slot in shard.slots] for shard in self._shards]
        return split(flat, slots, self._shapes)

    def _on_every_worker(self, arrays: tuple):
        """An iterator per worker that always gives the whole arrays, without copying them."""

        def dataset():
            options = tf.data.Options()
            options.autotune.enabled = False
            return tf.data.Dataset.from_tensors(arrays or (0,)).repeat().with_options(options)

        return iter(self._coordinator.create_per_worker_dataset(dataset))

    @tf.function(autograph=False)
    def _unit(self, resident, first_step, element):
        """One step, on the worker that was given it."""
        slab = self._train.slab(next(resident), element)
        flat = tf.concat([shard.weights.read_value() for shard in self._shards], 0)
        gradients, sums = self._compiled_gradients(flat, slab)
        parts = tf.split(flatten(gradients), self._sizes)
        return [
            shard.push(first_step, part, sums)
            for shard, part in zip(self._shards, parts, strict=True)
        ]

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_gradients(self, flat, slab):
        """The mean gradients of row 0 of the slab, and its sums."""
        weights = unflatten(flat, self._shapes)
        gradients, sums = self._program.gradients(weights, tuple(array[0] for array in slab))
        return self._program.mean(gradients, sums[2]), sums

    @tf.function(autograph=False)
    def _evaluation(self, weights, resident, element):
        return self._compiled_sums(weights, self._test.slab(resident, element))

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_sums(self, weights, slab):
        return block_sums(self._program, weights, slab)


class _Shard:
    """What one parameter server holds: its part of the weights, their slots, and its record."""

    def __init__(self, index: int, program: Program, weights, slots, num_steps: int):
        self._program = program
        self._device = f"/job:ps/replica:0/task:{index}/device:CPU:0"
        with tf.device(self._device):
            self.weights = tf.Variable(weights, trainable=False)
            self.slots = [tf.Variable(slot, trainable=False) for slot in slots]
            self.sums = tf.Variable(tf.zeros([NUM_SUMS], tf.float64), trainable=False)
            self.applied_steps = tf.Variable(tf.constant(0, tf.int64), trainable=False)
            self._is_applied = tf.Variable(tf.zeros([num_steps], tf.bool), trainable=False)
            self._lock = tf.CriticalSection(shared_name=f"shard_{index}")

    def assign(self, weights, slots) -> None:
        for variable, value in zip([self.weights, *self.slots], [weights, *slots], strict=True):
            variable.assign(value)

    def push(self, step, gradient, sums):
        """Applies the gradient of `step`, unless this shard has it already. Runs on the server."""
        with tf.device(self._device):
            return self._lock.execute(lambda: self._apply(step, gradient, sums))

    def _apply(self, step, gradient, sums):
        # Selected rather than branched: a branch across machines costs more than the arithmetic.
        is_new = tf.logical_not(tf.gather(self._is_applied.read_value(), step))
        old = self.weights.read_value(), [slot.read_value() for slot in self.slots]
        new = self._update(*old, gradient)
        assigned = [
            variable.assign(tf.where(is_new, after, before), read_value=False)
            for variable, before, after in zip(
                [self.weights, *self.slots], tf.nest.flatten(old), tf.nest.flatten(new), strict=True
            )
        ]
        counted = [
            self.sums.assign_add(tf.cast(is_new, tf.float64) * tf.cast(sums, tf.float64)),
            self.applied_steps.assign_add(tf.cast(is_new, tf.int64)),
        ]
        with tf.control_dependencies([*assigned, *counted]):
            marked = self._is_applied.scatter_nd_update([[step]], [True])
        with tf.control_dependencies([marked]):
            return tf.identity(is_new)

    @tf.function(jit_compile=True, autograph=False)
    def _update(self, weights, slots, gradient):
        (weights,), (slots,) = self._program.update([weights], [slots], [gradient])
        return weights, slots


def join(state: State) -> tuple[np.ndarray, list[np.ndarray]]:
    """All weights as one vector, and each kind of slot likewise; scalar slots as they are."""
    flat = np.concatenate([weight.ravel() for weight in state.weights])
    kinds = zip(*state.slots, strict=True)
    slots = [
        kind[0] if kind[0].ndim == 0 else np.concatenate([slot.ravel() for slot in kind])
        for kind in kinds
    ]
    return flat, slots


def cut(flat: np.ndarray, slots: list, start: int, end: int) -> tuple[np.ndarray, list]:
    """One shard of what `join` gave."""
    return flat[start:end], [slot if slot.ndim == 0 else slot[start:end] for slot in slots]


def split(flat: np.ndarray, shard_slots: list[list], shapes: list[tuple[int, ...]]) -> State:
    """The state whose `join`, cut into shards, is this."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def pieces(vector: np.ndarray) -> list[np.ndarray]:
        parts = np.split(vector, ends)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    kinds = [
        [kind[0]] * len(shapes) if kind[0].ndim == 0 else pieces(np.concatenate(kind))
        for kind in zip(*shard_slots, strict=True)
    ]
    return State(pieces(flat), list(zip(*kinds, strict=True)))


@contextlib.contextmanager
def _lost_servers() -> Iterator[None]:
    """TensorFlow's error about a parameter server that is gone, as one the user can act on."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise Resumable(
            "a parameter server was lost; run the same command again to go on from the last "
            f"checkpoint. ({str(error).splitlines()[0]})"
        ) from None
