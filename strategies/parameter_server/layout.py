"""How are a shard's weights, slots and loose values stored in its two vectors?

One has float32 values: weights, then slots, then loose values. The other has integers: counts of steps.
"""

import numpy as np
import tensorflow as tf

from strategies.compiled_loop import flatten


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
