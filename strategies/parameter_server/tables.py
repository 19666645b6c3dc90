"""Which rows of a table does a window use, and which server holds them?

A table is a weight that a step reads only row by row, such as that of an embedding. `Tables` cuts its
rows, and those of the slots that have its shape, into a run for each server. A window's rows follow from
its examples, so they alone are pulled before its steps and pushed after them. In between the worker has
the whole table, with NaN in all other rows: the steps read none of these, or the run would end.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.state import State
from strategies.weight_pieces import RowsRead

ROW_NUMBER = tf.int32  # Rows are sent with their numbers.


class Table:
    """A weight of a state, whose array of each kind (itself, and slots of its shape) is cut by rows."""

    def __init__(self, index: int, state: State, read: RowsRead, servers: int):
        self.index, self._read = index, read
        self.shape = state.weights[index].shape
        self._has_rows = [np.ndim(slot) > 0 for slot in state.slots[index]]
        ends = np.cumsum([len(run) for run in np.array_split(range(self.shape[0]), servers)])
        self.runs = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    @property
    def row_bytes(self) -> int:
        """Of a row of all kinds, as float32, and of its number."""
        return ROW_NUMBER.size + 4 * int(np.prod(self.shape[1:])) * (1 + sum(self._has_rows))

    def kinds(self, state: State) -> list[Any]:
        """The weight, and each slot of its shape."""
        own = zip(state.slots[self.index], self._has_rows, strict=True)
        return [state.weights[self.index], *(slot for slot, has_rows in own if has_rows)]

    def replace(self, state: State, kinds: Sequence[Any]) -> None:
        """Puts these in place of what `kinds` returns of a state."""
        weight, *slots = kinds
        rest = iter(slots)
        state.weights[self.index] = weight
        state.slots[self.index] = [
            next(rest) if has_rows else slot
            for slot, has_rows in zip(state.slots[self.index], self._has_rows, strict=True)
        ]

    def used(self, columns: tuple) -> Any:
        """int32 [n], increasing: the rows that examples use, whose columns are [examples, ...]."""
        rows = tf.reshape(tf.cast(self._read(columns), ROW_NUMBER), [-1])
        return tf.sort(tf.unique(rows)[0])


class Tables:
    """The tables of a state among `servers`. `read`: see `Program.tables`."""

    def __init__(self, state: State, read: Mapping[int, RowsRead], servers: int):
        self._tables = [Table(index, state, one, servers) for index, one in read.items()]
        self._servers = range(servers)

    @property
    def row_bytes(self) -> list[int]:
        """Those of a row of each table that is sent."""
        return [table.row_bytes for table in self._tables]

    def kinds(self, state: State) -> list[list[Any]]:
        """Of each table the arrays that are cut by rows."""
        return [table.kinds(state) for table in self._tables]

    def without(self, state: State) -> State:
        """The state with tables, and their slots, of no rows."""
        return self.replaced(state, [[one[:0] for one in own] for own in self.kinds(state)])

    def replaced(self, state: State, kinds: Sequence[Sequence[Any]]) -> State:
        """The state with these in place of what `kinds` returns."""
        found = State(*state.parts)
        for table, own in zip(self._tables, kinds, strict=True):
            table.replace(found, own)
        return found

    def parts(self, state: State) -> list[list[list[np.ndarray]]]:
        """The rows of each server: of each table the arrays that `kinds` returns, cut."""
        return [
            [[one[table.runs[server]] for one in table.kinds(state)] for table in self._tables]
            for server in self._servers
        ]

    def used(self, stacked_batches: tuple, num_steps: Any) -> list[list[Any]]:
        """For each server the rows of each table that a window uses, counted from its first one."""
        *arrays, _ = stacked_batches
        columns = tuple(tf.reshape(one[:num_steps], [-1, *one.shape[2:]]) for one in arrays)
        rows = [table.used(columns) for table in self._tables]
        return [
            [
                _within(one, table.runs[server])
                for one, table in zip(rows, self._tables, strict=True)
            ]
            for server in self._servers
        ]

    def whole(self, rows: list[list[Any]], pulled: list[list[list[Any]]]) -> list[list[Any]]:
        """What `kinds` returns, with NaN in the rows that were not pulled. Both by server and table."""
        found = []
        for number, table in enumerate(self._tables):
            places, empty = self._places(number, rows)[:, tf.newaxis], tf.fill(table.shape, np.nan)
            kinds = zip(*(own[number] for own in pulled), strict=True)
            found.append(
                [tf.tensor_scatter_nd_update(empty, places, tf.concat(one, 0)) for one in kinds]
            )
        return found

    def taken(self, rows: list[list[Any]], kinds: list[list[Any]]) -> list[list[list[Any]]]:
        """For each server these rows of what `whole` returned."""
        return [
            [
                [tf.gather(one, local + table.runs[server].start) for one in own]
                for local, own, table in zip(rows[server], kinds, self._tables, strict=True)
            ]
            for server in self._servers
        ]

    def _places(self, number: int, rows: list[list[Any]]) -> Any:
        """Where the rows of all servers are in a table."""
        runs = self._tables[number].runs
        return tf.concat([rows[one][number] + runs[one].start for one in self._servers], 0)


def _within(rows: Any, run: slice) -> Any:
    # An index that is in no run is left to the model, which raises an error for it.
    return tf.boolean_mask(rows, (rows >= run.start) & (rows < run.stop)) - run.start
