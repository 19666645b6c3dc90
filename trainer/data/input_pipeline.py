"""What does one replica read?

A global step is a row of the sample order; replica r of n takes the r-th of n equal slices. What
differs between strategies is data: which replicas a process feeds, how many steps a loop has, and
whether the examples stay on the device (`resident`: only their indices travel) or travel
themselves (`stream`). Both gather by the same indices, so both give the same examples in the same order.
"""

import collections
import concurrent.futures
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from trainer.data.dataset import Split
from trainer.order.sample_order import PADDING, SampleOrder
from trainer.order.schedule import Loop

SLAB_BYTES = 32 << 20  # Per loop and replica: large enough to hide the call, small beside the data.
MAX_STEPS_PER_LOOP = 500
RESIDENT_BYTES = 2**30  # Per copy of the data.
_LOOPS_AHEAD = 2


class InputPipeline:
    """Elements for this process's replicas. Implements `strategies.runtime.ReplicaInput`.

    An element is `(indices int32 [k, b],)` where the data is resident, and else `(indices,
    features [k, b, ...], targets [k, b, ...])`: k = `steps_per_loop` rows, of which a short loop
    uses the first, b examples per replica, index -1 where an epoch has run out.
    """

    def __init__(
        self,
        split: Split,
        order: SampleOrder,
        num_replicas: int,
        replicas: range,
        steps_per_loop: int,
        placement: str,
    ):
        self._order = order
        self._per_replica = order.global_batch_size // num_replicas
        self._replicas = replicas
        self._steps_per_loop = steps_per_loop
        self._streams = placement == "stream"
        self.resident = () if self._streams else (split.features, split.targets)
        self._streamed = (split.features, split.targets) if self._streams else ()

    def elements(self, loops: Iterable[Loop]) -> Iterator[tuple]:
        """For each loop, one element of tensors per replica of this process.

        They are prepared two loops ahead, by a thread that works while compiled code runs.
        """
        with concurrent.futures.ThreadPoolExecutor(1, "input") as thread:
            ahead = collections.deque()
            for loop in loops:
                ahead.append(thread.submit(self._tensors, loop))
                if len(ahead) > _LOOPS_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def stacked_batches(self, resident: tuple, element: tuple) -> tuple:
        indices = element[0]
        examples = element[1:] if self._streams else _gather(resident, indices)
        return (*examples, tf.cast(indices != PADDING, tf.float32))

    def _tensors(self, loop: Loop) -> tuple:
        with tf.device("CPU:0"):  # From where the runtime sends it to the device that needs it.
            return tf.nest.map_structure(tf.constant, self._elements(loop))

    def _elements(self, loop: Loop) -> tuple:
        """Per replica, its columns of the loop's global rows; rows are padded to k."""
        rows = self._order.steps_batches(loop.first_step, loop.num_steps)
        rows = np.pad(
            rows, ((0, self._steps_per_loop - len(rows)), (0, 0)), constant_values=PADDING
        )
        width = self._per_replica
        return tuple(
            (indices, *self._gathered(indices))
            for indices in (rows[:, r * width : (r + 1) * width] for r in self._replicas)
        )

    def _gathered(self, indices: np.ndarray) -> tuple:
        # By NumPy, so that an array larger than memory, mapped from a file, is never copied whole.
        return tuple(array[np.maximum(indices, 0)] for array in self._streamed)


def _gather(arrays: tuple, indices) -> tuple:
    """The rows of each array at `indices`; padding reads row 0, and its weight is 0."""
    return tuple(tf.gather(array, tf.maximum(indices, 0)) for array in arrays)


def choose_placement(split: Split, wanted: str) -> str:
    """`resident` or `stream`: what the config says, or whether the data fits the budget."""
    if wanted != "auto":
        return wanted
    return "resident" if split.features.nbytes <= RESIDENT_BYTES else "stream"


def choose_steps_per_loop(
    split: Split, order: SampleOrder, num_replicas: int, wanted: int, default: int | None
) -> int:
    """Steps in one call, never more than an epoch has.

    `wanted` steps; where that is 0 the strategy's `default`, or fewer where a loop's batches would
    not fit in memory.
    """
    bytes_per_step = split.features[:1].nbytes * order.global_batch_size // num_replicas
    fitting = max(1, SLAB_BYTES // max(1, bytes_per_step))
    steps = wanted or min(fitting, default or MAX_STEPS_PER_LOOP)
    return min(steps, order.steps_per_epoch)
