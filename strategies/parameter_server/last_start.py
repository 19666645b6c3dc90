"""What did the last unit start from, for a worker that has to take it again?

A unit ends with a push to each server. Where its worker dies between two of them, another takes the whole
unit again. Where units follow one another, it has to start from what the first one started from, also on
the servers that have merged it already: from anything newer, its result would fit theirs no more, and the
weights would not be those of a single process.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class LastStart:
    """A shard's values and counts, and the used rows of its tables, from before its last push.

    It is as large as the shard: TensorFlow cannot send a handle of a variable whose size is not fixed, so
    a table has all its rows here too. All of it happens under the shard's lock.
    """

    def __init__(
        self, values: np.ndarray, counts: np.ndarray, tables: Sequence[Sequence[np.ndarray]]
    ):
        self._vectors = [tf.Variable(one, trainable=False) for one in (values, counts)]
        self._tables = [[tf.Variable(one, trainable=False) for one in own] for own in tables]

    def keep(self, is_new, values, counts, rows: list, tables: list[list[Any]]) -> list[Any]:
        """The assignments that keep this, if the unit `is_new`. `tables`: their `rows`."""
        done = [
            held.assign(tf.where(is_new, one, held.read_value()), read_value=False)
            for held, one in zip(self._vectors, (values, counts), strict=True)
        ]
        for own_rows, own_held, own in zip(rows, self._tables, tables, strict=True):
            for held, one in zip(own_held, own, strict=True):
                kept = tf.where(is_new, one, held.sparse_read(own_rows))
                done.append(held.scatter_nd_update(own_rows[:, tf.newaxis], kept))
        return done

    def instead_of(self, is_kept, values, counts, rows: list, tables: list[list[Any]]) -> tuple:
        """Values, counts and tables as they were kept, if `is_kept`, or else as they are given."""
        values, counts = [
            tf.where(is_kept, held.read_value(), one)
            for held, one in zip(self._vectors, (values, counts), strict=True)
        ]
        tables = [
            [
                tf.where(is_kept, held.sparse_read(own_rows), one)
                for held, one in zip(own_held, own, strict=True)
            ]
            for own_rows, own_held, own in zip(rows, self._tables, tables, strict=True)
        ]
        return values, counts, tables
