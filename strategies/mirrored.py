"""How do the devices of one machine train together?

Every replica keeps its own plain copy of the state, and the copies stay equal because each applies
the same summed gradient. `tf.distribute` carries that one exchange: a flat vector of all gradients
with the batch's sums behind them. One device has nothing to exchange, so its whole loop is one
compiled function; several leave the compiled code only for the all-reduce.

Several replicas on a CPU are on one processor. To compute them apart would make one step of many small
ones, so their batches are put side by side again and the processor takes them as one.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.compiled_loop import block_sums, flatten, fused_steps, unflatten
from strategies.rendezvous.membership import Membership
from strategies.runtime import NUM_SUMS, Program, ReplicaInput, Runtime, State

LOCAL = {
    "synchronization": tf.VariableSynchronization.ON_READ,
    "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
    "trainable": False,
}


class MirroredRuntime(Runtime):
    """Synchronous data parallelism: all replicas take every step together."""

    name = "mirrored"
    sync_mode = "gradients"

    def __init__(
        self,
        reason: str,
        strategy: tf.distribute.Strategy,
        first_device: int = 0,
        replicas_per_device: int = 1,
    ):
        self.reason = reason
        self._strategy = strategy
        self._devices = strategy.extended.worker_devices
        self.device_type = tf.DeviceSpec.from_string(self._devices[0]).device_type
        # Of two terms the order does not matter; of more, tf.distribute chooses it.
        self.adds_in_order = strategy.num_replicas_in_sync <= 2
        self._per_device = replicas_per_device
        self._first_device = first_device
        self.num_replicas = strategy.num_replicas_in_sync * replicas_per_device
        last_device = first_device + len(self._devices)
        self.local_replicas = range(
            first_device * replicas_per_device, last_device * replicas_per_device
        )
        self._pending = []

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "MirroredRuntime":
        del cluster, peers  # Alone: `choose` saw to it.
        if devices[0].startswith("CPU"):
            one = tf.distribute.MirroredStrategy(devices[:1])
            return cls(choice.reason, one, replicas_per_device=len(devices))
        return cls(choice.reason, tf.distribute.MirroredStrategy(devices))

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        self._program = program
        self._train = train
        self._test = test
        with self._strategy.scope():
            self._weights = [tf.Variable(weight, **LOCAL) for weight in state.weights]
            self._slots = [[tf.Variable(slot, **LOCAL) for slot in own] for own in state.slots]
        self._resident = self._on_every_device(train.resident)
        self._test_resident = self._on_every_device(test.resident)

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        alone = self._strategy.num_replicas_in_sync == 1
        loop = self._fused_loop if alone else self._exchanging_loop
        sums, stops = loop(
            self._resident,
            self._on_devices(self._joined(elements)),
            tf.constant(num_steps),
            tf.constant(float(stop)),
        )
        self._pending.append(sums)
        return bool(stops > 0)

    def collect(self) -> np.ndarray:
        sums = sum((sums.numpy().astype(np.float64) for sums in self._pending), np.zeros(NUM_SUMS))
        self._pending.clear()
        return sums

    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        return np.concatenate([self._blocks(elements) for elements in batches]).astype(np.float64)

    def _blocks(self, elements: tuple) -> np.ndarray:
        """float32 [k * num_replicas, NUM_SUMS]: the sums of each block."""
        elements = self._on_devices(self._joined(elements))
        return self._evaluation(self._test_resident, elements).numpy()

    def restore(self, state: State) -> None:
        self._assign(state.weights, state.slots)

    def state(self) -> State:
        def host(variable):
            return self._strategy.experimental_local_results(variable)[0].numpy()

        return State(
            [host(weight) for weight in self._weights],
            [[host(slot) for slot in own] for own in self._slots],
        )

    def _joined(self, elements: tuple) -> tuple:
        """One element per local device: those of its replicas side by side, in their order."""
        if self._per_device == 1:
            return elements
        starts = range(0, len(elements), self._per_device)
        groups = [elements[start : start + self._per_device] for start in starts]
        return tuple(
            tuple(tf.concat(arrays, 1) for arrays in zip(*group, strict=True)) for group in groups
        )

    def _on_devices(self, values: tuple):
        """One value per local device as tf.distribute's own per-replica value."""
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: values[context.replica_id_in_sync_group - self._first_device]
        )

    def _on_every_device(self, arrays: tuple):
        copies = []
        for device in self._devices:
            with tf.device(device):
                copies.append(tuple(tf.constant(array) for array in arrays))
        return self._on_devices(tuple(copies))

    def _read(self) -> tuple[list, list]:
        weights = [weight.read_value() for weight in self._weights]
        return weights, [[slot.read_value() for slot in own] for own in self._slots]

    def _assign(self, weights: list, slots: list) -> None:
        for variable, value in zip(
            tf.nest.flatten((self._weights, self._slots)),
            tf.nest.flatten((weights, slots)),
            strict=True,
        ):
            variable.assign(value, read_value=False)

    # One replica: nothing leaves the compiled function.

    @tf.function(autograph=False)
    def _fused_loop(self, resident, elements, num_steps, stop):
        def replica(resident, element):
            stacked_batches = self._train.stacked_batches(resident, element)
            weights, slots, sums = self._compiled_loop(*self._read(), stacked_batches, num_steps)
            self._assign(weights, slots)
            return sums

        return self._strategy.run(replica, args=(resident, elements)), stop

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_loop(self, weights, slots, stacked_batches, num_steps):
        return fused_steps(self._program, weights, slots, stacked_batches, num_steps)

    # Several replicas: compiled gradients, one all-reduce, compiled update.

    @tf.function
    def _exchanging_loop(self, resident, elements, num_steps, stop):
        slabs = self._strategy.run(self._train.stacked_batches, args=(resident, elements))
        total = tf.zeros([NUM_SUMS + 1])
        for i in tf.range(num_steps):
            sums = self._strategy.run(self._exchanging_step, args=(i, slabs, stop))
            total += self._strategy.experimental_local_results(sums)[0]
        return total[:NUM_SUMS], total[NUM_SUMS]

    def _exchanging_step(self, i, stacked_batches, stop):
        weights, slots = self._read()
        context = tf.distribute.get_replica_context()
        with tf.device(self._device_of(context)):
            # Sliced out here: as an argument of compiled code, an index would be compiled in, and
            # every step of the first loop would wait for a compilation of its own.
            batch = tuple(tf.gather(array, i) for array in stacked_batches)
            gradients, sums = self._compiled_gradients(weights, batch)
            mine = tf.concat([flatten(gradients), sums, stop[tf.newaxis]], 0)
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
        self._assign(*self._compiled_update(weights, slots, total))
        return total[-(NUM_SUMS + 1) :]

    def _device_of(self, context) -> str:
        """A pin: unpinned, an all-reduce in a loop fails for want of a destination."""
        replica = context.replica_id_in_sync_group
        return self._devices[int(tf.get_static_value(replica)) - self._first_device]

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_gradients(self, weights, batch):
        # Not flattened here: XLA would fuse the matrix products into the concatenation and compute
        # them element by element, 30 times slower.
        return self._program.gradients(weights, batch)

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_update(self, weights, slots, total):
        gradients = unflatten(total[: -(NUM_SUMS + 1)], [weight.shape for weight in weights])
        gradients = self._program.mean(gradients, total[-2])
        return self._program.update(weights, slots, gradients)

    @tf.function(autograph=False)
    def _evaluation(self, resident, elements):
        sums = self._strategy.run(self._replica_sums, args=(resident, elements))
        return self._strategy.experimental_local_results(sums)[0]

    def _replica_sums(self, resident, element):
        """float32 [k * num_replicas, NUM_SUMS]: every block once, whoever computed it.

        Each device fills in the blocks of its replicas; adding zeros is exact, so neither the number
        of devices nor the order of the sum changes a bit.
        """
        context = tf.distribute.get_replica_context()
        stacked_batches = self._test.stacked_batches(resident, element)
        with tf.device(self._device_of(context)):
            mine = self._compiled_sums(self._read()[0], self._in_blocks(stacked_batches))
            mine = tf.reshape(mine, [-1, 1, self._per_device, NUM_SUMS])
            devices = self._strategy.num_replicas_in_sync
            own = tf.one_hot(context.replica_id_in_sync_group, devices)
            blocks = tf.identity(mine * own[:, tf.newaxis, tf.newaxis])
        blocks = context.all_reduce(tf.distribute.ReduceOp.SUM, blocks)
        return tf.reshape(blocks, [-1, NUM_SUMS])

    def _in_blocks(self, stacked_batches: tuple) -> tuple:
        """Rows that lie side by side, one of each replica, as rows of their own."""
        return tuple(
            tf.reshape(a, [-1, a.shape[1] // self._per_device, *a.shape[2:]])
            for a in stacked_batches
        )

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_sums(self, weights, stacked_batches):
        return block_sums(self._program, weights, stacked_batches)
