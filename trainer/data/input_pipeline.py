"""What does one replica read?

A global step is a row of the sample order, cut into equal blocks; a replica reads a run of them. What
differs between strategies is data: which replicas a process feeds, how many steps a loop has, and whether
the examples stay on the device (`resident`: only their indices are sent) or are sent with each loop
(`stream`). Both gather by the same indices, so both give the same examples in the same order. Augmented
examples differ in each epoch, so they are sent. Their weights are read beside them.
"""

import collections
import concurrent.futures
import copy
import re
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from strategies.collectives.leaf_runs import LeafRuns
from trainer.data.dataset import DataError, Split
from trainer.data.rows import expect_random_reads, gather, is_mapped
from trainer.order.order import Order
from trainer.order.sample_order import PADDING
from trainer.order.schedule import Loop

# Of one replica's features in a loop: large enough to hide the call, small compared with the data.
MAX_LOOP_BYTES = 32 << 20
MAX_STEPS_PER_LOOP = 500
# Of one replica in a loop, where each is augmented: these take about as long as a step with few of them,
# and the first step waits for the first loop.
MAX_AUGMENTED_EXAMPLES = 2**12
MAX_RESIDENT_BYTES = 2**30  # Of the features, per device.
_LOOPS_AHEAD = 2

# Changes gathered examples in place: (arrays [k, b, ...], indices [k, b], earlier visits [k, b]).
Augment = Callable[[tuple[np.ndarray, ...], np.ndarray, np.ndarray], None]


class InputPipeline:
    """The input of this process's replicas. Implements `strategies.runtime.ReplicaInput`.

    A replica's input for one loop is `(indices int32 [k, b],)` where the data is resident, and else
    `(indices, *features, *targets, *weights)`, arrays [k, b, ...]: k = `steps_per_loop` rows, of which a
    shorter loop uses the first; b examples of the replica; index -1 where an epoch has run out.

    `runs`: the blocks of each replica; their number divides the global batch.
    """

    def __init__(
        self,
        split: Split,
        order: Order,
        runs: LeafRuns,
        replicas: range,
        steps_per_loop: int,
        placement: str,
        augment: Augment | None = None,
    ):
        self._order = order
        self.rows_per_step = order.rows_per_step
        self.runs = runs
        self._replicas = replicas
        self._steps_per_loop = steps_per_loop
        self._augment = augment
        self._streams = placement == "stream" or augment is not None
        self._is_weighted = split.weights is not None
        examples = split.all_arrays
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

    def with_runs(self, runs: LeafRuns) -> "InputPipeline":
        """A pipeline of the same examples, of which the replicas read other blocks."""
        other = copy.copy(self)
        other.runs = runs
        return other

    def batch_specs(self) -> tuple:
        """The specs of the first replica's batch: features, targets and example weights."""
        width = self._order.global_batch_size // self.runs.num_leaves * self.runs.counts[0]
        arrays = self.resident or self._streamed
        columns = arrays[:-1] if self._is_weighted else arrays
        one_each = [tf.constant(np.asarray(one[:1])) for one in columns]
        specs = [tf.TensorSpec([width, *one.shape[1:]], one.dtype) for one in one_each]
        return (*specs, tf.TensorSpec([width], tf.float32))

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
        is_example = tf.cast(indices != PADDING, tf.float32)
        if self._is_weighted:
            return (*examples[:-1], examples[-1] * is_example)
        return (*examples, is_example)

    def _tensors(self, loop: Loop) -> tuple:
        # The runtime copies them from there to the device that needs them.
        with tf.device("CPU:0"):
            return tf.nest.map_structure(tf.constant, self._arrays(loop))

    def _arrays(self, loop: Loop) -> tuple:
        """Per replica, its columns of the loop's global rows; rows are padded to k."""
        rows = self._order.steps_batches(loop.first_step, loop.num_steps)
        padding = ((0, self._steps_per_loop * self.rows_per_step - len(rows)), (0, 0))
        padded = np.pad(rows, padding, constant_values=PADDING)
        block = self._order.global_batch_size // self.runs.num_leaves
        runs = [self.runs.runs[replica] for replica in self._replicas]
        columns = [slice(run.start * block, run.stop * block) for run in runs]
        found = [(padded[:, own], *self._gather_streamed(padded[:, own])) for own in columns]
        if self._augment:
            visits = self._order.steps_visits(loop.first_step, loop.num_steps)
            visits = np.pad(np.broadcast_to(visits, rows.shape), padding)
            for own, (indices, *examples) in zip(columns, found, strict=True):
                changed = examples[:-1] if self._is_weighted else examples
                self._augment(tuple(changed), indices, visits[:, own])
        return tuple(found)

    def _gather_streamed(self, indices: np.ndarray) -> tuple:
        # By NumPy, so that a memory-mapped array larger than memory is never copied whole.
        return tuple(gather(array, np.maximum(indices, 0)) for array in self._streamed)


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
    order: Order,
    num_replicas: int,
    wanted: int,
    default: int | None,
    augments: bool = False,
) -> int:
    """Steps in one call, at most the number that an epoch has.

    `wanted` steps; if that is 0 the strategy's `default`, or fewer where a loop's features would be
    larger than MAX_LOOP_BYTES, or more than MAX_AUGMENTED_EXAMPLES would be augmented.
    """
    per_step = -(-order.global_batch_size // num_replicas) * order.rows_per_step
    fitting = max(1, MAX_LOOP_BYTES // max(1, split.bytes_per_example * per_step))
    if augments:
        fitting = min(fitting, max(1, MAX_AUGMENTED_EXAMPLES // per_step))
    steps = wanted or min(fitting, default or MAX_STEPS_PER_LOOP)
    return min(steps, order.steps_per_epoch)
