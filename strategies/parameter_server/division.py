"""How is a state divided among parameter servers, and joined again?

`Division` has all weights as one vector, which it cuts into one part for each server, and each kind of
slot and the vectors of `LooseArrays` likewise. Tables are cut by rows (`tables.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.compiled_loop import flatten, unflatten
from strategies.parameter_server.layer_state import LooseArrays
from strategies.parameter_server.layout import Layout
from strategies.parameter_server.shards import Shard
from strategies.parameter_server.tables import Tables
from strategies.state import State
from strategies.weight_pieces import RowsRead


class Division:
    """How states like `state` are divided among `servers`. `read`: see `Program.tables`."""

    def __init__(self, state: State, read: Mapping[int, RowsRead], servers: int):
        self.tables = Tables(state, read, servers)
        rest = self.tables.without(state)
        self._shapes = [weight.shape for weight in rest.weights]
        self._loose = LooseArrays(rest)
        self.servers = servers
        self.layouts: list[Layout] = []

    def parts(self, state: State) -> list[tuple]:
        """What each shard holds of a state: weights, slots, loose floats and integers, and tables."""
        tables, rest = self.tables.parts(state), self.tables.without(state)
        flat, slots = join(self._loose.without(rest))
        floats, ints = self._loose.join(self._loose.of(rest))
        sizes = [len(part) for part in np.array_split(flat, self.servers)]
        ends, parts = np.cumsum(sizes), np.array_split(floats, self.servers)
        # Integers are few, so the first shard holds them all.
        return [
            (*cut(flat, slots, end - size, end), part, ints if number == 0 else ints[:0], own)
            for number, (size, end, part, own) in enumerate(
                zip(sizes, ends, parts, tables, strict=True)
            )
        ]

    def state(self, shards: Sequence[Shard]) -> State:
        """The state that these shards hold."""
        parts, slots = zip(*[shard.arrays() for shard in shards], strict=True)
        loose, ints = zip(*[shard.loose_arrays() for shard in shards], strict=True)
        cut_state = split(np.concatenate(parts), slots, self._shapes)
        arrays = self._loose.split(np.concatenate(loose), ints[0])
        own, layer_state = self._loose.restored(
            cut_state.slots, [array.numpy() for array in arrays]
        )
        tables = zip(*[shard.table_arrays() for shard in shards], strict=True)
        kinds = [[np.concatenate(one) for one in zip(*held, strict=True)] for held in tables]
        return self.tables.replaced(State(cut_state.weights, own, layer_state), kinds)

    def unpacked(self, values: list, counts: Any, tables: list[list[Any]]) -> tuple:
        """The nest of a state, in a graph: of the shards' values, the first one's counts, and tables."""
        parts = [
            layout.unpack(own, counts) for layout, own in zip(self.layouts, values, strict=True)
        ]
        weights, *kinds = [self._joined(kind) for kind in zip(*parts, strict=True)]
        slots = [list(own) for own in zip(*kinds, strict=True)] or [[] for _ in weights]
        floats = [layout.loose(own) for layout, own in zip(self.layouts, values, strict=True)]
        ints = self.layouts[0].loose_ints(counts)
        slots, layer_state = self._loose.restored(
            slots, self._loose.split(tf.concat(floats, 0), ints)
        )
        return self.tables.replaced(State(weights, slots, layer_state), tables).parts

    def packed(self, state: tuple, sums: Any) -> tuple[list, Any, list[list[Any]]]:
        """The inverse of `unpacked`, with these sums at the end of each shard's values."""
        whole = State(*state)
        tables = self.tables.kinds(whole)
        weights, slots, layer_state = self.tables.without(whole).parts
        loose = self._loose.slots_of(slots)
        floats, ints = self._loose.joined([*loose, *layer_state])
        cut_slots = [[] for _ in slots] if loose else slots
        kinds = [self._cut(kind) for kind in (weights, *zip(*cut_slots, strict=True))]
        # Concatenated only after the loop: XLA would fuse the loop's arithmetic into the concatenation.
        values = [
            tf.concat([layout.pack(*own), part, sums], 0)
            for layout, own, part in zip(
                self.layouts,
                zip(*kinds, strict=True),
                tf.split(floats, [layout.num_loose for layout in self.layouts]),
                strict=True,
            )
        ]
        own = self.layouts[0].counts(cut_slots[0])
        return values, tf.concat([own, ints], 0), tables

    def _joined(self, parts: tuple) -> list:
        """One kind of slot, or the weights, joined from all shards: an array for each weight."""
        if parts[0].shape.rank == 0:
            return [parts[0]] * len(self._shapes)
        return unflatten(tf.concat(parts, 0), self._shapes)

    def _cut(self, arrays: Sequence[Any]) -> list:
        """One kind of slot, or the weights, cut into one part for each shard."""
        if arrays[0].shape.rank == 0:
            return [arrays[0]] * len(self.layouts)
        return tf.split(flatten(list(arrays)), [layout.num_weights for layout in self.layouts])


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
