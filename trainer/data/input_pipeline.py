"""What does one replica read?

A global step is a row of the sample order; replica r of n reads the r-th of n equal slices. What differs
between strategies is data: which replicas a process feeds, how many steps a loop has, and whether the
examples stay on the device (`resident`: only their indices are sent) or are sent with each loop
(`stream`). Both gather by the same indices, so both give the same examples in the same order. Augmented
examples differ in each epoch, so they are sent.
"""

import collections
import concurrent.futures
import copy
import re
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer.data.dataset import DataError, Split
from trainer.data.rows import expect_random_reads, is_mapped
from trainer.order.sample_order import PADDING, SampleOrder
from trainer.order.schedule import Loop

# Of one replica's features in a loop: large enough to hide the call, small compared with the data.
MAX_LOOP_BYTES = 32 << 20
MAX_STEPS_PER_LOOP = 500
# Of one replica in a loop, where each is augmented: these take about as long as a step with few of them,
# and the first step waits for the first loop.
MAX_AUGMENTED_EXAMPLES = 2**12
MAX_RESIDENT_BYTES = 2**30  # Of the features, per device.
_LOOPS_AHEAD = 2

# Changes gathered examples in place: (arrays [k, b, ...], indices [k, b], epochs [k, b]).
Augment = Callable[[tuple[np.ndarray, ...], np.ndarray, np.ndarray], None]


class Order(Protocol):
    """Which examples are in which step: a `SampleOrder`, or that of an evaluation."""

    @property
    def global_batch_size(self) -> int: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def shuffle(self) -> bool: ...

    def steps_batches(self, first_step: int, num_steps: int) -> np.ndarray: ...


class InputPipeline:
    """The input of this process's replicas. Implements `strategies.runtime.ReplicaInput`.

    A replica's input for one loop is `(indices int32 [k, b],)` where the data is resident, and else
    `(indices, *features, *targets)`, arrays [k, b, ...]: k = `steps_per_loop` rows, of which a shorter
    loop uses the first; b examples per replica; index -1 where an epoch has run out.
    """

    def __init__(
        self,
        split: Split,
        order: Order,
        num_replicas: int,
        replicas: range,
        steps_per_loop: int,
        placement: str,
        augment: Augment | None = None,
    ):
        self._order = order
        self._per_replica_batch_size = order.global_batch_size // num_replicas
        self._replicas = replicas
        self._steps_per_loop = steps_per_loop
        self._augment = augment
        self._streams = placement == "stream" or augment is not None
        examples = split.arrays
        self.resident: tuple[np.ndarray, ...] = (
            () if self._streams else tuple(map(np.asarray, examples))
        )
        self._streamed: tuple[np.ndarray, ...] = examples if self._streams else ()
        if order.shuffle:
            for array in self._streamed:
                expect_random_reads(array)

    def with_steps_per_loop(self, steps_per_loop: int) -> "InputPipeline":
        """A pipeline of the same examples, `steps_per_loop` rows to a loop."""
        other = copy.copy(self)
        other._steps_per_loop = steps_per_loop
        return other

    def loop_inputs(self, loops: Iterable[Loop]) -> Generator[tuple, None, None]:
        """For each loop, a tuple with the input of each of this process's replicas, as tensors.

        They are prepared two loops ahead, by a thread that works while compiled code runs.
        """
        thread = concurrent.futures.ThreadPoolExecutor(1, "input")
        ahead: collections.deque[concurrent.futures.Future[tuple]] = collections.deque()
        try:
            for loop in loops:
                ahead.append(thread.submit(self._tensors, loop))
                if len(ahead) > _LOOPS_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)  # Of a run that stops.

    def stacked_batches(self, resident: tuple, element: tuple) -> tuple:
        indices = element[0]
        examples = element[1:] if self._streams else _gather(resident, indices)
        return (*examples, tf.cast(indices != PADDING, tf.float32))

    def _tensors(self, loop: Loop) -> tuple:
        # The runtime copies them from there to the device that needs them.
        with tf.device("CPU:0"):
            return tf.nest.map_structure(tf.constant, self._arrays(loop))

    def _arrays(self, loop: Loop) -> tuple:
        """Per replica, its columns of the loop's global rows; rows are padded to k."""
        width = self._per_replica_batch_size
        rows = self._order.steps_batches(loop.first_step, loop.num_steps)
        rows = np.pad(
            rows, ((0, self._steps_per_loop - len(rows)), (0, 0)), constant_values=PADDING
        )
        steps = loop.first_step + np.arange(len(rows))
        epochs = np.repeat(steps[:, np.newaxis] // self._order.steps_per_epoch, width, axis=1)
        return tuple(
            (indices, *self._gather_streamed(indices, epochs))
            for indices in (rows[:, r * width : (r + 1) * width] for r in self._replicas)
        )

    def _gather_streamed(self, indices: np.ndarray, epochs: np.ndarray) -> tuple:
        # By NumPy, so that a memory-mapped array larger than memory is never copied whole.
        examples = tuple(array[np.maximum(indices, 0)] for array in self._streamed)
        if self._augment:
            self._augment(examples, indices, epochs)
        return examples


def _gather(arrays: tuple, indices) -> tuple:
    """The rows of each array at `indices`; padding reads row 0, and its weight is 0."""
    return tuple(tf.gather(array, tf.maximum(indices, 0)) for array in arrays)


def choose_placement(split: Split, wanted: str) -> str:
    """`resident` or `stream`: `wanted`, or if that is `auto`, by the size of the features.

    Raises DataError where they would have to be read from files and do not fit in memory.
    """
    size = split.bytes_per_example * len(split)
    if wanted == "auto":
        return "resident" if size <= MAX_RESIDENT_BYTES else "stream"
    if wanted == "resident" and any(map(is_mapped, split.arrays)) and size > _free_memory():
        raise DataError(
            "`data.placement` must be stream for features that do not fit in memory. Received: resident "
            f"for {size / 1e9:.1f} GB, with {_free_memory() / 1e9:.1f} GB free; use stream, or auto."
        )
    return wanted


def _free_memory() -> int:
    """Bytes of memory that programs can still get, by Linux's estimate."""
    found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def choose_steps_per_loop(
    split: Split,
    order: SampleOrder,
    num_replicas: int,
    wanted: int,
    default: int | None,
    augments: bool = False,
) -> int:
    """Steps in one call, at most the number that an epoch has.

    `wanted` steps; if that is 0 the strategy's `default`, or fewer where a loop's features would be
    larger than MAX_LOOP_BYTES, or more than MAX_AUGMENTED_EXAMPLES would be augmented.
    """
    per_step = order.global_batch_size // num_replicas
    fitting = max(1, MAX_LOOP_BYTES // max(1, split.bytes_per_example * per_step))
    if augments:
        fitting = min(fitting, max(1, MAX_AUGMENTED_EXAMPLES // per_step))
    steps = wanted or min(fitting, default or MAX_STEPS_PER_LOOP)
    return min(steps, order.steps_per_epoch)
