"""How do parameter servers hold what belongs to no single weight?

As two vectors, which `LooseArrays` joins and splits: float32 for floating-point arrays, int64 for all
others. They are a model's layer state, and the slots of an optimizer that do not have the shapes of its
weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.compiled_loop import flatten
from strategies.state import State


class LooseArrays:
    """The arrays of a state that are not cut together with the weights, by their shapes and dtypes.

    Those are the layer state, and also the slots, if one of them is neither a scalar of every weight nor
    an array of every weight's shape.
    """

    def __init__(self, state: State):
        self._num_slots = [len(own) for own in state.slots]
        self._is_aligned = _is_aligned(state)
        arrays = self.of(state)
        self._specs = [(array.shape, array.dtype) for array in arrays]
        self._is_float = [np.issubdtype(dtype, np.floating) for _, dtype in self._specs]
        self.num_ints = sum(self._sizes(False))

    def of(self, state: State) -> list[np.ndarray]:
        """Those arrays of a state."""
        return [*self.slots_of(state.slots), *state.layer_state]

    def slots_of(self, slots: Sequence[Sequence[Any]]) -> list[Any]:
        """The slots among them."""
        return [] if self._is_aligned else [slot for own in slots for slot in own]

    def without(self, state: State) -> State:
        """A state without those arrays."""
        slots = state.slots if self._is_aligned else [[] for _ in state.weights]
        return State(state.weights, slots)

    def join(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The arrays as float32 [n] and int64 [m]."""
        pairs = list(zip(arrays, self._is_float, strict=True))
        floats = [np.ravel(array).astype(np.float32) for array, is_float in pairs if is_float]
        ints = [np.ravel(array).astype(np.int64) for array, is_float in pairs if not is_float]
        return (
            np.concatenate([np.zeros(0, np.float32), *floats]),
            np.concatenate([np.zeros(0, np.int64), *ints]),
        )

    def joined(self, tensors: Sequence[Any]) -> tuple[Any, Any]:
        """As `join`, of tensors."""
        pairs = list(zip(tensors, self._is_float, strict=True))
        floats = [tf.cast(tensor, tf.float32) for tensor, is_float in pairs if is_float]
        ints = [tf.cast(tensor, tf.int64) for tensor, is_float in pairs if not is_float]
        return flatten([tf.zeros([0]), *floats]), flatten([tf.zeros([0], tf.int64), *ints])

    def split(self, floats: Any, ints: Any) -> list[Any]:
        """The inverse of `joined`."""
        parts = {}
        for is_float, vector in ((True, floats), (False, ints)):
            sizes = self._sizes(is_float)
            parts[is_float] = iter(tf.split(vector, sizes) if sizes else ())
        return [
            tf.reshape(tf.cast(next(parts[is_float]), dtype), shape)
            for (shape, dtype), is_float in zip(self._specs, self._is_float, strict=True)
        ]

    def restored(self, slots: list, arrays: list) -> tuple[list, list]:
        """(slots, layer state): slots as `without` leaves them, completed by those among the arrays."""
        if self._is_aligned:
            return slots, arrays
        ends = np.cumsum(self._num_slots)
        starts = ends - self._num_slots
        own = [arrays[start:end] for start, end in zip(starts, ends, strict=True)]
        return own, arrays[ends[-1] :]

    def _sizes(self, is_float: bool) -> list[int]:
        return [
            int(np.prod(shape))
            for (shape, _), one in zip(self._specs, self._is_float, strict=True)
            if one == is_float
        ]


def _is_aligned(state: State) -> bool:
    """Whether each kind of slot is a scalar of every weight, or has every weight's shape."""
    if len({len(own) for own in state.slots}) > 1:
        return False
    return all(
        all(np.ndim(slot) == 0 for slot in kind)
        or all(slot.shape == weight.shape for slot, weight in zip(kind, state.weights, strict=True))
        for kind in zip(*state.slots, strict=True)
    )
