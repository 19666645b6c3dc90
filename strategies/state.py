"""What does training change? `State` has it, as host arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from strategies.sync.agreement import Memory


class State:
    """Weights, their optimizer's slots, layer state, and the memory of an agreement.

    `weights[i]` has any shape; `slots[i]` are the arrays that the optimizer keeps for it, or, where each
    logical replica keeps its own, those of all replicas, [replicas, ...]. `layer_state` has the model's
    other variables: averages of batch normalization, frozen weights, seeds and the like. `memory` is what
    the agreement between replicas remembers (`sync/agreement.py`): an array by its name, or a list of
    one for each weight.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        slots: Sequence[Sequence[np.ndarray]],
        layer_state: Sequence[np.ndarray] = (),
        memory: Memory | None = None,
    ):
        self.weights = list(weights)
        self.slots = [list(one) for one in slots]
        self.layer_state = list(layer_state)
        self.memory = dict(memory or {})

    @property
    def parts(self) -> tuple[list, list, list]:
        """(weights, slots, layer state): the nest in which a runtime holds a state."""
        return self.weights, self.slots, self.layer_state

    @property
    def flat_arrays(self) -> list[np.ndarray]:
        """Every array of the state."""
        slots = [slot for own in self.slots for slot in own]
        held = [
            one for own in self.memory.values() for one in (own if isinstance(own, list) else [own])
        ]
        return [*self.weights, *slots, *self.layer_state, *held]

    @property
    def arrays(self) -> tuple[list, list, list, dict]:
        """The arguments of a `State` that is equal to this one."""
        return *self.parts, self.memory


class Lazy:
    """An array that is made when it is read, each time, so that a large state need not be in memory.

    NumPy reads it with `np.array` and the like.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, read: Callable[[], Any]):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._read = read

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = np.asarray(self._read())
        assert found.shape == self.shape and found.dtype == self.dtype
        return found if dtype is None else found.astype(dtype)
