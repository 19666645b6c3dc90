"""How do the cores of a TPU train together?

Each keeps its own copy of the state, as the devices in `mirrored.py` do. But a whole loop is one program
on all cores: gradients, the one sum of them over the cores, and the update never leave the TPU. The data
lies on every core, or a loop's share of it comes with the call; nothing in the program asks the host.

Whether there is a TPU was asked before, in `preflight.py`, and how it is reached in `connect.py`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.compiled_loop import block_sums, flatten, fused_steps, unflatten
from strategies.errors import Resumable
from strategies.mirrored import LOCAL, MirroredRuntime
from strategies.rendezvous.membership import Membership
from strategies.runtime import NUM_SUMS, State
from strategies.tpu.connect import connect

_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


class TpuRuntime(MirroredRuntime):
    """Synchronous data parallelism over TPU cores."""

    name = "tpu"

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "TpuRuntime":
        del cluster, devices, peers  # Alone, and its devices are its own.
        return cls(choice.reason, connect(choice.tpu, choice.tpu_timeout_s))

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        with _loss_told():
            sums = self._loop(self._on_devices(elements), tf.constant(num_steps))
        self._pending.append(sums)
        return stop  # One program drives all cores, so nobody else can have been asked.

    def collect(self) -> np.ndarray:
        with _loss_told():
            return super().collect()

    def restore(self, state: State) -> None:
        held = tf.nest.flatten((self._weights, self._slots))
        values = tf.nest.flatten((state.weights, state.slots))
        for variable, value in zip(held, values, strict=True):
            for copy in self._strategy.experimental_local_results(variable):
                copy.assign(value, read_value=False)

    def traced_loop(self, elements: tuple, num_steps: int):
        """The concrete function that `run` would call, for who wants to look before there is a TPU."""
        return self._loop.get_concrete_function(self._on_devices(elements), tf.constant(num_steps))

    def traced_evaluation(self, elements: tuple):
        """The same of `evaluate`."""
        return self._every_block.get_concrete_function(self._on_devices(elements))

    def _blocks(self, elements: tuple) -> np.ndarray:
        with _loss_told():
            return self._every_block(self._on_devices(elements)).numpy()

    def _on_every_device(self, arrays: tuple) -> tuple:
        # Variables: a tensor of the host would be sent to the cores again with every call.
        with self._strategy.scope():
            return tuple(tf.Variable(array, **LOCAL) for array in arrays)

    # Nothing is marked for compilation here: what TPUStrategy runs is compiled as a whole.

    @tf.function(autograph=False)
    def _loop(self, elements, num_steps):
        sums = self._strategy.run(self._replica_loop, args=(elements, num_steps))
        return self._strategy.experimental_local_results(sums)[0]

    def _replica_loop(self, element, num_steps):
        stacked_batches = self._train.stacked_batches(_values(self._resident), element)
        weights, slots, sums = fused_steps(
            self._program, *self._read(), stacked_batches, num_steps, _added_over_cores
        )
        self._assign(weights, slots)
        return sums

    @tf.function(autograph=False)
    def _every_block(self, elements):
        """float32 [k * num_replicas, NUM_SUMS]: no core needs to know what the others found."""
        blocks = self._strategy.run(self._replica_blocks, args=(elements,))
        by_core = self._strategy.experimental_local_results(blocks)
        return tf.reshape(tf.stack(by_core, 1), [-1, NUM_SUMS])

    def _replica_blocks(self, element):
        stacked_batches = self._test.stacked_batches(_values(self._test_resident), element)
        return block_sums(self._program, self._read()[0], stacked_batches)


def _values(variables: tuple) -> tuple:
    return tuple(variable.read_value() for variable in variables)


def _added_over_cores(gradients: list, sums: Any) -> tuple[list, Any]:
    """Gradients and sums of all cores, by one exchange of one vector."""
    parts = [*gradients, sums]
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, flatten(parts))
    *gradients, sums = unflatten(total, [part.shape for part in parts])
    return gradients, sums


@contextlib.contextmanager
def _loss_told() -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        raise Resumable(
            f"the TPU was lost, or preempted ({type(error).__name__}); create it again where it is gone, "
            "and run the same command again to go on"
        ) from None
