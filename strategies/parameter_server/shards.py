"""What does one parameter server hold, and how does a push change it?

A `Shard`: its part of the vector of all weights, their slots, and a record of the steps it has applied.
Every push is applied exactly once. It runs under the shard's lock, because merging reads before it
writes, and of two concurrent pushes one would be lost. It is marked in the shard's record, because a unit
whose worker died is scheduled again, and may have been applied on some shards already.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from strategies.compiled_loop import flatten
from strategies.runtime import State


class Pulled(NamedTuple):
    """A shard's values and counts, as a unit of work pulled them."""

    values: Any
    counts: Any


class Shard:
    """What one parameter server holds: its part of the weights, their slots, and the applied steps.

    `loose` and `ints` are its parts of the two vectors of `LooseArrays`. `has_moments`: whether the
    optimizer keeps averages of earlier gradients.
    """

    def __init__(
        self,
        weights: np.ndarray,
        slots: list[np.ndarray],
        loose: np.ndarray,
        ints: np.ndarray,
        *,
        num_steps: int,
        num_workers: int,
        num_sums: int,
        device: str,
        name: str,
        has_moments: bool,
    ):
        self.layout = Layout(weights, slots, len(loose), len(ints))
        self._own_share = 1 / num_workers
        self._share = self._own_share if has_moments else 1.0
        self._num_sums = num_sums
        self._device = device
        values, counts = self.layout.arrays(weights, slots, loose, ints)
        with tf.device(device):
            self._values = tf.Variable(values, trainable=False)
            self._counts = tf.Variable(counts, trainable=False)
            self.sums = tf.Variable(tf.zeros([num_sums], tf.float64), trainable=False)
            self.applied_steps = tf.Variable(tf.constant(0, tf.int64), trainable=False)
            self._is_applied = tf.Variable(tf.zeros([num_steps], tf.bool), trainable=False)
            self._lock = tf.CriticalSection(shared_name=name)

    def assign(self, weights, slots, loose, ints) -> None:
        """Replaces what it holds, and clears the record: those steps may be taken again."""
        values, counts = self.layout.arrays(weights, slots, loose, ints)
        self._values.assign(values)
        self._counts.assign(counts)
        for record in (self.sums, self.applied_steps, self._is_applied):
            record.assign(tf.zeros_like(record))

    def arrays(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Weights float32 [n] and slots, as `assign` takes them."""
        weights, *slots = self.layout.unpack(self._values.read_value(), self._counts.read_value())
        return weights.numpy(), [slot.numpy() for slot in slots]

    def loose_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Its parts of the two vectors of `LooseArrays`."""
        values, counts = self._values.read_value(), self._counts.read_value()
        return self.layout.loose(values).numpy(), self.layout.loose_ints(counts).numpy()

    def pull(self) -> Pulled:
        """What a unit starts from, read on the server.

        Under the lock: otherwise Adam's first moment could be from after a push and its second from
        before. Where the second is still 0, such a step is as large as epsilon allows.
        """
        variables = Pulled(self._values, self._counts)
        with tf.device(self._device):
            return self._lock.execute(lambda: Pulled(*[one.read_value() for one in variables]))

    def push(self, steps, pulled: Pulled, pushed, moved):
        """Merges a unit's result on the server, unless this shard has merged it already.

        Args:
          steps: int32 [2], the unit's first step and the number of its steps.
          pulled: what the unit started from.
          pushed: float32 [m + num_sums], the values that it ended with, then its sums.
          moved: int64 [n], what it adds to the counts and the loose integers.

        Returns:
          A bool scalar: whether it was new.
        """
        with tf.device(self._device):
            return self._lock.execute(lambda: self._apply(steps, pulled, pushed, moved))

    def _apply(self, steps, pulled, pushed, moved):
        first_step, num_steps = steps[0], steps[1]
        # tf.where instead of a branch, which across machines costs more than the arithmetic.
        is_new = tf.logical_not(tf.gather(self._is_applied, first_step))
        num_new = tf.where(is_new, tf.cast(num_steps, tf.int64), 0)
        values, sums = self._merged(is_new, self._values.read_value(), pulled.values, pushed)
        done = [
            self._values.assign(values, read_value=False),
            self._counts.assign_add(
                self.layout.own_counts(tf.where(is_new, moved, 0)), read_value=False
            ),
            self.sums.assign_add(sums, read_value=False),
            self.applied_steps.assign_add(num_new, read_value=False),
        ]
        with tf.control_dependencies(done):
            marked = self._is_applied.scatter_nd_update(
                tf.range(first_step, first_step + num_steps)[:, tf.newaxis],
                tf.ones([num_steps], tf.bool),
            )
        with tf.control_dependencies([marked]):
            return tf.identity(is_new)

    @tf.function(jit_compile=True, autograph=False)
    def _merged(self, is_new, current, pulled, pushed):
        """The shard's values after a push, and the sums to add.

        Where the update depends on the gradient only, a unit's whole delta is added: a single process
        would add the deltas of all units too. An optimizer with moments takes steps of full size on every
        worker, and N workers together would move N times too far: Adam diverged on windows of 10 steps.
        There a unit moves weights by 1/N of its delta, and slots by 1/N of the way to its own: an
        average, so Adam's second moment stays positive. Loose values are averaged in this way by any
        optimizer. A single worker's values are kept bit for bit.
        """
        n, loose = self.layout.num_weights, self.layout.num_loose
        pushed, sums = pushed[: -self._num_sums], tf.cast(pushed[-self._num_sums :], tf.float64)
        if self._share == 1.0:
            missed = current[:n] - pulled[:n]  # 0 unless another unit was pushed since the pull.
            values = tf.concat([pushed[:n] + missed, pushed[n:]], 0)
            if loose and self._own_share != 1.0:
                step = self._own_share * (pushed[-loose:] - current[-loose:])
                values = tf.concat([values[:-loose], current[-loose:] + step], 0)
        else:
            since = tf.concat([pulled[:n], current[n:]], 0)
            values = current + self._share * (pushed - since)
        return tf.where(is_new, values, current), tf.where(is_new, sums, tf.zeros_like(sums))


class Layout:
    """The layout of a shard's weights and slots in two vectors: float32 values, and int64 counts.

    An integer slot is a count of steps. In `values` the weights come first and loose values last; in
    `counts` loose integers come last.
    """

    def __init__(
        self, weights: np.ndarray, slots: list[np.ndarray], num_loose: int = 0, num_ints: int = 0
    ):
        self.num_weights, self.num_loose, self._num_ints = weights.size, num_loose, num_ints
        self._slots = [(slot.dtype, slot.shape) for slot in slots]
        self._is_count = [np.issubdtype(slot.dtype, np.integer) for slot in slots]
        self._lengths = [weights.size, *(np.size(slot) for slot in self._floats(slots))]

    def arrays(self, weights, slots, loose=(), ints=()) -> tuple[np.ndarray, np.ndarray]:
        floats = [np.ravel(slot) for slot in self._floats(slots)]
        counts = [slot for slot, is_count in zip(slots, self._is_count, strict=True) if is_count]
        values = np.concatenate([weights, *floats, np.asarray(loose, np.float32)])
        return values, np.array([*counts, *ints], np.int64)

    def pack(self, weights, *slots):
        """These tensors as one vector of values, without loose ones and without the counts."""
        return flatten([weights, *self._floats(slots)])

    def loose(self, values):
        """The loose values of a vector of values."""
        return values[sum(self._lengths) :]

    def loose_ints(self, counts):
        """The loose integers of a vector of counts."""
        return counts[sum(self._is_count) :]

    def counts(self, slots):
        """int64 [n]: the counts among these slots of a weight."""
        counts = [slot for slot, is_count in zip(slots, self._is_count, strict=True) if is_count]
        return tf.stack([tf.zeros([], tf.int64), *(tf.cast(one, tf.int64) for one in counts)])[1:]

    def own_counts(self, counts):
        """The part of a vector of counts that this shard holds: loose integers may be elsewhere."""
        return counts[: sum(self._is_count) + self._num_ints]

    def unpack(self, values, counts) -> list:
        """The weights, then each slot."""
        weights, *floats = tf.split(values[: sum(self._lengths)], self._lengths)
        num_counts = sum(self._is_count)
        floats, counts = iter(floats), iter(tf.unstack(counts[:num_counts], num_counts))
        return [weights] + [
            tf.cast(next(counts), dtype) if is_count else tf.reshape(next(floats), shape)
            for is_count, (dtype, shape) in zip(self._is_count, self._slots, strict=True)
        ]

    def _floats(self, slots) -> list:
        return [slot for slot, is_count in zip(slots, self._is_count, strict=True) if not is_count]


def join(state: State) -> tuple[np.ndarray, list[np.ndarray]]:
    """All weights as one vector, and each kind of slot too; scalar slots stay scalars."""
    flat = np.concatenate([weight.ravel() for weight in state.weights])
    kinds = zip(*state.slots, strict=True)
    slots = [
        kind[0] if kind[0].ndim == 0 else np.concatenate([slot.ravel() for slot in kind])
        for kind in kinds
    ]
    return flat, slots


def cut(flat: np.ndarray, slots: list, start: int, end: int) -> tuple[np.ndarray, list]:
    """The range [start, end) of what `join` returned."""
    return flat[start:end], [slot if slot.ndim == 0 else slot[start:end] for slot in slots]


def split(flat: np.ndarray, shard_slots: list[list], shapes: list[tuple[int, ...]]) -> State:
    """The inverse of `join` and `cut`: the state whose joined weights and cut slots these are."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def pieces(vector: np.ndarray) -> list[np.ndarray]:
        parts = np.split(vector, ends)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    kinds = [
        [kind[0]] * len(shapes) if kind[0].ndim == 0 else pieces(np.concatenate(kind))
        for kind in zip(*shard_slots, strict=True)
    ]
    return State(pieces(flat), list(zip(*kinds, strict=True)))
