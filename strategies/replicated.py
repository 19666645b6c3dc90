"""How is the same state held on every replica?

`ReplicatedRuntime` gives each local device its own copy of the state and of the resident data; a subclass
only takes the steps and computes the sums of the test set's blocks. The copies stay equal because each
applies the same summed gradient.
"""

import abc
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from strategies import variables
from strategies.runtime import Program, ReplicaInput, Runtime
from strategies.state import State

# Of variables that `tf.distribute` neither synchronises nor sums: they hold one plain copy per device.
PLAIN_COPIES = {
    "synchronization": tf.VariableSynchronization.ON_READ,
    "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
    "trainable": False,
}


class ReplicatedRuntime(Runtime):
    """A runtime whose devices each hold a copy of the state.

    A subclass defines `run` and `evaluate_blocks`. It may use, once `start` has been called:
      strategy: the tf.distribute strategy over all tasks' devices.
      devices: the names of the local devices, in the order of their replicas.
      first_device: the index of the first of them among all tasks' devices.
      replicas_per_device: how many replicas share a device, their batches side by side.
      program, train, test: the arguments of `start`.
      variables: (weights, slots, layer state), nested as in `State.parts`.
      resident, test_resident: per device, the arrays that `train` and `test` keep there.
      pending: float32 [num_sums] of every loop since the last `collect`; `run` appends to it.
    """

    sync_mode = "gradients"

    def __init__(
        self,
        reason: str,
        strategy: tf.distribute.Strategy,
        first_device: int = 0,
        replicas_per_device: int = 1,
    ):
        self.reason = reason
        self.strategy = strategy
        self.devices = strategy.extended.worker_devices
        self.device_type = tf.DeviceSpec.from_string(self.devices[0]).device_type
        # Of two terms the order does not matter; of more, tf.distribute chooses it.
        self.adds_in_order = strategy.num_replicas_in_sync <= 2
        self.replicas_per_device = replicas_per_device
        self.first_device = first_device
        self.num_replicas = strategy.num_replicas_in_sync * replicas_per_device
        last_device = first_device + len(self.devices)
        self.local_replicas = range(
            first_device * replicas_per_device, last_device * replicas_per_device
        )
        self.pending: list[tf.Tensor] = []

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        self.program = program
        self.train = train
        self.test = test
        with self.strategy.scope():
            self.variables = tf.nest.map_structure(
                lambda array: tf.Variable(array, **PLAIN_COPIES), state.parts
            )
        self.resident = self.copy_to_devices(train.resident)
        self.test_resident = self.copy_to_devices(test.resident)

    def collect(self) -> np.ndarray:
        return variables.collected(self.pending, self.program.num_sums)

    def exchanged(self, steps: int) -> dict[str, int]:
        terms = sum(int(np.prod(shape)) for shape in self.program.term_shapes)
        each = 4 * (terms + self.program.num_sums)
        return {"agreements": steps, "update_bytes": steps * each}

    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        blocks = [self.evaluate_blocks(elements) for elements in batches]
        return np.concatenate(blocks).astype(np.float64)

    @abc.abstractmethod
    def evaluate_blocks(self, elements: tuple) -> np.ndarray:
        """float32 [k * num_replicas, num_sums]: the sums of each block, in the test set's order.

        `elements`: one per local replica, of k batches each.
        """

    def restore(self, state: State) -> None:
        self.assign_state(state.parts)

    def state(self) -> State:
        def host(variable):
            return self.strategy.experimental_local_results(variable)[0].numpy()

        return State(*tf.nest.map_structure(host, self.variables))

    # For subclasses.

    def read_state(self) -> tuple[list, list, list]:
        """The values of the state. In replica context: of this replica's copy."""
        return variables.read(self.variables)

    def assign_state(self, state: tuple) -> None:
        """Replaces it. In replica context: this replica's copy; else every local one."""
        variables.assign(self.variables, state)

    def copy_to_devices(self, arrays: tuple):
        """Arrays as constants on every local device, as a per-replica value."""
        copies = []
        for device in self.devices:
            with tf.device(device):
                copies.append(tuple(tf.constant(array) for array in arrays))
        return self.per_device(tuple(copies))

    def per_device(self, values: tuple):
        """One value per local device as tf.distribute's own per-replica value."""
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: values[context.replica_id_in_sync_group - self.first_device]
        )

    def join_replicas(self, elements: tuple) -> tuple:
        """One element per local device: those of its replicas side by side, in their order."""
        if self.replicas_per_device == 1:
            return elements
        starts = range(0, len(elements), self.replicas_per_device)
        groups = [elements[start : start + self.replicas_per_device] for start in starts]
        return tuple(
            tuple(tf.concat(arrays, 1) for arrays in zip(*group, strict=True)) for group in groups
        )

    def split_blocks(self, stacked_batches: tuple, blocks: int) -> tuple:
        """[k, b, ...] joined by `join_replicas` as [k * blocks, ...], a row per block."""
        return tuple(
            tf.reshape(a, [-1, a.shape[1] // blocks, *a.shape[2:]]) for a in stacked_batches
        )
