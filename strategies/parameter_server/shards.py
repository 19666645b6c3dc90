"""What does one parameter server hold, and how does a push change it?

A `Shard`: its part of the vector of all weights, their slots, and a record of the steps it has applied.
Every push is applied exactly once. It runs under the shard's lock, because merging reads before it
writes, and of two concurrent pushes one would be lost. It is marked in the shard's record, because a unit
whose worker died is scheduled again, and may have been applied on some shards already (`last_start.py`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from strategies.parameter_server.last_start import LastStart
from strategies.parameter_server.layout import Layout


class Pulled(NamedTuple):
    """A shard's values and counts, as a unit of work pulled them, and the pushes that it had seen.

    `rows`: those of each table that were asked for. `tables`: of each table these rows of each kind.
    """

    values: Any
    counts: Any
    version: Any
    rows: list[Any]
    tables: list[list[Any]]


class Shard:
    """What one parameter server holds: its part of the weights, their slots, and the applied steps.

    `loose` and `ints` are its parts of the two vectors of `LooseArrays`, `tables` its rows of the arrays
    that `Tables.kinds` returns. `max_unfinished`: how many units may overlap. `has_moments`: whether the
    optimizer keeps averages of earlier gradients. `keeps_start`: whether a unit that is taken again
    starts as it did, for which units must not overlap.
    """

    def __init__(
        self,
        weights: np.ndarray,
        slots: list[np.ndarray],
        loose: np.ndarray,
        ints: np.ndarray,
        tables: Sequence[Sequence[np.ndarray]] = (),
        *,
        num_steps: int,
        max_unfinished: int,
        num_sums: int,
        device: str,
        name: str,
        has_moments: bool,
        keeps_start: bool,
    ):
        self.layout = Layout(weights, slots, len(loose), len(ints))
        self._own_share = 1 / max_unfinished
        self._share = self._own_share if has_moments else 1.0
        self._num_sums = num_sums
        self._device = device
        values, counts = self.layout.arrays(weights, slots, loose, ints)
        self.push_bytes = values.nbytes + 4 * num_sums + counts.nbytes
        with tf.device(device):
            self._values = tf.Variable(values, trainable=False)
            self._counts = tf.Variable(counts, trainable=False)
            self._tables = [[tf.Variable(one, trainable=False) for one in own] for own in tables]
            # Of each table, over all pushes.
            self.pushed_rows = tf.Variable(tf.zeros([len(tables)], tf.int64), trainable=False)
            self.sums = tf.Variable(tf.zeros([num_sums], tf.float64), trainable=False)
            self.applied_steps = tf.Variable(tf.constant(0, tf.int64), trainable=False)
            self._is_applied = tf.Variable(tf.zeros([num_steps], tf.bool), trainable=False)
            self._version = tf.Variable(tf.constant(0, tf.int64), trainable=False)
            self.busy_s = tf.Variable(tf.constant(0.0, tf.float64), trainable=False)
            # The sum of the pushes' staleness since it was last read, the largest one, and their number.
            self._ages = tf.Variable(tf.zeros([3], tf.int64), trainable=False)
            self._lock = tf.CriticalSection(shared_name=name)
            self._last_start = LastStart(values, counts, tables) if keeps_start else None

    def assign(self, weights, slots, loose, ints, tables=()) -> None:
        """Replaces what it holds, and clears the record: those steps may be taken again."""
        values, counts = self.layout.arrays(weights, slots, loose, ints)
        self._values.assign(values)
        self._counts.assign(counts)
        tf.nest.map_structure(lambda held, one: held.assign(one), self._tables, list(tables))
        records = self.sums, self.applied_steps, self.busy_s, self.pushed_rows, self._is_applied
        for record in records:
            record.assign(tf.zeros_like(record))

    def arrays(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Weights float32 [n] and slots, as `assign` takes them."""
        weights, *slots = self.layout.unpack(self._values.read_value(), self._counts.read_value())
        return weights.numpy(), [slot.numpy() for slot in slots]

    def loose_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Its parts of the two vectors of `LooseArrays`."""
        values, counts = self._values.read_value(), self._counts.read_value()
        return self.layout.loose(values).numpy(), self.layout.loose_ints(counts).numpy()

    def table_arrays(self) -> list[list[np.ndarray]]:
        """Its rows of the tables, as `assign` takes them."""
        return [[one.numpy() for one in own] for own in self._tables]

    def staleness(self) -> tuple[float, int]:
        """The mean staleness of the pushes since the last call, and the largest; 0 without any."""
        total, largest, count = self._ages.numpy().tolist()
        self._ages.assign(tf.zeros([3], tf.int64))
        return total / max(count, 1), largest

    def pull(self, steps, rows: Sequence[Any] = ()) -> Pulled:
        """What a unit starts from, read on the server; of each table these rows, counted from its first.

        `steps`: as in `push`. Under the lock: else Adam's first moment could be from after a push and
        its second from before. Where that is still 0, such a step is as large as epsilon allows.
        """
        with tf.device(self._device):
            return self._lock.execute(lambda: self._read(steps, list(rows)))

    def _read(self, steps, rows: list) -> Pulled:
        values, counts = self._values.read_value(), self._counts.read_value()
        tables = [
            [one.sparse_read(own_rows) for one in own]
            for own_rows, own in zip(rows, self._tables, strict=True)
        ]
        if self._last_start:
            is_again = tf.gather(self._is_applied, steps[0]) & (steps[1] > 0)
            values, counts, tables = self._last_start.instead_of(
                is_again, values, counts, rows, tables
            )
        return Pulled(values, counts, self._version.read_value(), rows, tables)

    def push(self, steps, pulled: Pulled, pushed, moved, seconds, tables=()):
        """Merges a unit's result on the server, unless this shard has merged it already.

        Args:
          steps: int32 [2], the unit's first step and the number of its steps.
          pulled: what the unit started from.
          pushed: float32 [m + num_sums], the values that it ended with, then its sums.
          moved: int64 [n], what it adds to the counts and the loose integers.
          seconds: float64, how long its steps took.
          tables: the pulled rows of each table as they are after its steps.

        Returns:
          A bool scalar: whether it was new.
        """
        with tf.device(self._device):
            return self._lock.execute(
                lambda: self._apply(steps, pulled, pushed, moved, seconds, tables)
            )

    def _apply(self, steps, pulled, pushed, moved, seconds, tables):
        first_step, num_steps = steps[0], steps[1]
        # tf.where instead of a branch, which across machines costs more than the arithmetic.
        is_new = tf.logical_not(tf.gather(self._is_applied, first_step))
        num_new = tf.where(is_new, tf.cast(num_steps, tf.int64), 0)
        values, sums = self._merged(is_new, self._values.read_value(), pulled.values, pushed)
        takes_steps = is_new & (num_steps > 0)  # A unit without steps only warms a worker up.
        kept = []
        if self._last_start:
            start = pulled.values, pulled.counts, pulled.rows, pulled.tables
            kept = self._last_start.keep(takes_steps, *start)
        version, one = self._version.read_value(), tf.cast(takes_steps, tf.int64)
        age, ages = one * (version - pulled.version), self._ages.read_value()
        ages = tf.stack([ages[0] + age, tf.maximum(ages[1], age), ages[2] + one])
        done = [
            self._version.assign(version + one, read_value=False),
            self._ages.assign(ages, read_value=False),
            self._values.assign(values, read_value=False),
            self._counts.assign_add(
                self.layout.own_counts(tf.where(is_new, moved, 0)), read_value=False
            ),
            self.sums.assign_add(sums, read_value=False),
            self.busy_s.assign_add(tf.where(is_new, seconds, 0.0), read_value=False),
            self.applied_steps.assign_add(num_new, read_value=False),
            *self._apply_rows(is_new, pulled, tables),
            *kept,
        ]
        with tf.control_dependencies(done):
            marked = self._is_applied.scatter_nd_update(
                tf.range(first_step, first_step + num_steps)[:, tf.newaxis],
                tf.ones([num_steps], tf.bool),
            )
        with tf.control_dependencies([marked]):
            return tf.identity(is_new)

    def _apply_rows(self, is_new, pulled: Pulled, tables) -> list:
        """The assignments of a unit's rows. All others keep their bits."""
        done = []
        for rows, held, before, after in zip(
            pulled.rows, self._tables, pulled.tables, tables, strict=True
        ):
            for kind, (one, old, new) in enumerate(zip(held, before, after, strict=True)):
                current = one.sparse_read(rows)
                moved = self._moved(current, old, new, is_weight=kind == 0)
                merged = tf.where(is_new, moved, current)
                done.append(one.scatter_nd_update(rows[:, tf.newaxis], merged))
        sizes = [tf.size(rows, tf.int64) for rows in pulled.rows]
        total = tf.stack([tf.zeros([], tf.int64), *sizes])[1:]
        new = tf.where(is_new, total, tf.zeros_like(total))
        return [*done, self.pushed_rows.assign_add(new, read_value=False)]

    @tf.function(jit_compile=True, autograph=False)
    def _merged(self, is_new, current, pulled, pushed):
        """The shard's values after a push, and the sums to add.

        Where the update depends on the gradient only, a unit's whole delta is added: a single process
        would add the deltas of all units too. An optimizer with moments takes steps of full size on every
        worker, and N units that overlap would together move N times too far: Adam diverged on windows of
        10 steps. There a unit moves weights by 1/N of its delta, and slots by 1/N of the way to its own:
        an average, so Adam's second moment stays positive. Loose values are averaged in this way by any
        optimizer. Where no units overlap, as with a single worker, values are kept bit for bit.
        """
        n, loose = self.layout.num_weights, self.layout.num_loose
        pushed, sums = pushed[: -self._num_sums], tf.cast(pushed[-self._num_sums :], tf.float64)
        weights = self._moved(current[:n], pulled[:n], pushed[:n], is_weight=True)
        rest = self._moved(current[n:], pulled[n:], pushed[n:], is_weight=False)
        values = tf.concat([weights, rest], 0)
        if loose and self._share == 1.0 and self._own_share != 1.0:
            step = self._own_share * (pushed[-loose:] - current[-loose:])
            values = tf.concat([values[:-loose], current[-loose:] + step], 0)
        return tf.where(is_new, values, current), tf.where(is_new, sums, tf.zeros_like(sums))

    def _moved(self, current, pulled, pushed, is_weight):
        """Numbers of the server after a push of those: a weight's, or those that belong to weights."""
        if self._share == 1.0:
            # 0 is added unless another unit was pushed since the pull.
            return pushed + (current - pulled) if is_weight else pushed
        return current + self._share * (pushed - (pulled if is_weight else current))
