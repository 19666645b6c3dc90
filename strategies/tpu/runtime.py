"""How do the cores of a TPU train together?

Each holds a copy of the state (`replicated.py`), and a whole loop is one program on all cores: gradients,
their sum over the cores, and the update never leave the TPU. The data is resident on every core, or a
loop's share of it is sent with the call; the program never asks the host.

`preflight.py` checks first whether there is a TPU, and `connect.py` connects to it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from strategies import variables
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.compiled_loop import block_sums, flatten, fused_steps, unflatten
from strategies.errors import Resumable
from strategies.rendezvous.membership import Membership
from strategies.replicated import PLAIN_COPIES, ReplicatedRuntime
from strategies.runtime import Key
from strategies.state import State
from strategies.tpu.connect import connect

_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


class TpuRuntime(ReplicatedRuntime):
    """Synchronous data parallelism over TPU cores."""

    name = "tpu"

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "TpuRuntime":
        del cluster, devices, peers  # A single task, and the cores are its devices.
        return cls(choice.reason, connect(choice.tpu, choice.tpu_timeout_s))

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        with _tpu_loss_as_resumable():
            sums = self._loop(self.per_device(elements), tf.constant([first_step, num_steps]))
        self.pending.append(sums)
        return stop  # One program drives all cores, so there is no other task to agree with.

    def collect(self) -> np.ndarray:
        with _tpu_loss_as_resumable():
            return super().collect()

    def restore(self, state: State) -> None:
        held, values = tf.nest.flatten(self.variables), tf.nest.flatten(state.parts)
        for variable, value in zip(held, values, strict=True):
            for copy in self.strategy.experimental_local_results(variable):
                copy.assign(value, read_value=False)

    def traced_loop(self, elements: tuple, num_steps: int):
        """The concrete function that `run` calls, to inspect or compile it without a TPU."""
        return self._loop.get_concrete_function(
            self.per_device(elements), tf.constant([0, num_steps])
        )

    def traced_evaluation(self, elements: tuple):
        """The concrete function that `evaluate` calls."""
        return self._evaluation.get_concrete_function(self.per_device(elements))

    def evaluate_blocks(self, elements: tuple) -> np.ndarray:
        with _tpu_loss_as_resumable():
            return self._evaluation(self.per_device(elements)).numpy()

    def copy_to_devices(self, arrays: tuple) -> tuple:
        # Variables: a host's tensor would be sent to the cores again with every call.
        with self.strategy.scope():
            return tuple(tf.Variable(array, **PLAIN_COPIES) for array in arrays)

    # Nothing is marked for compilation here: what TPUStrategy runs is compiled as a whole.

    @tf.function(autograph=False)
    def _loop(self, elements, steps):
        """`steps`: int32 [2], the first step and their number."""
        sums = self.strategy.run(self._replica_loop, args=(elements, steps))
        return self.strategy.experimental_local_results(sums)[0]

    def _replica_loop(self, element, steps):
        stacked_batches = self.train.stacked_batches(variables.read(self.resident), element)
        core = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = Key(steps[0], core)
        state, sums = fused_steps(
            self.program, self.read_state(), stacked_batches, steps[1], first, _all_reduce
        )
        self.assign_state(state)
        return sums

    @tf.function(autograph=False)
    def _evaluation(self, elements):
        """float32 [k * num_replicas, num_sums], joined on the host: the cores exchange nothing."""
        blocks = self.strategy.run(self._replica_blocks, args=(elements,))
        by_core = self.strategy.experimental_local_results(blocks)
        return tf.reshape(tf.stack(by_core, 1), [-1, self.program.num_sums])

    def _replica_blocks(self, element):
        stacked_batches = self.test.stacked_batches(variables.read(self.test_resident), element)
        return block_sums(self.program, self.read_state(), stacked_batches)


def _all_reduce(terms: list, sums: Any) -> tuple[list, Any]:
    """Terms and sums added over all cores, by one all-reduce of one vector."""
    parts = [*terms, sums]
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, flatten(parts))
    *terms, sums = unflatten(total, [part.shape for part in parts])
    return terms, sums


@contextlib.contextmanager
def _tpu_loss_as_resumable() -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        raise Resumable(
            f"the TPU was lost, or preempted ({type(error).__name__}); create it again if it is gone, "
            "and run the same command again to resume"
        ) from None
