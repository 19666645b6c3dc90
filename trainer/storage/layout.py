"""Under which names are the arrays of a run saved?

`Layout` names its weights, the optimizer slots of each, and its layer state.
"""

import dataclasses

import numpy as np

from strategies.runtime import State
from trainer.storage import npz


@dataclasses.dataclass(frozen=True)
class Layout:
    """The names of the arrays: `weights[i]`, `slots[i]` of the same weight, and the layer state.

    `like` is a state of which only the shapes and types count; None: all are read.
    """

    weights: list[str]
    slots: list[list[str]]
    layer_state: list[str] = dataclasses.field(default_factory=list)
    like: State | None = None

    def named(self, state: State) -> dict[str, np.ndarray]:
        named = dict(zip((f"weights/{name}" for name in self.weights), state.weights, strict=True))
        for name, slots, arrays in zip(self.weights, self.slots, state.slots, strict=True):
            named |= dict(zip((f"optimizer/{name}/{slot}" for slot in slots), arrays, strict=True))
        return named | dict(zip(self._layer_state_names(), state.layer_state, strict=True))

    def state(self, named: dict[str, np.ndarray]) -> State:
        weights = [named[f"weights/{name}"] for name in self.weights]
        slots = [
            [named[f"optimizer/{name}/{slot}"] for slot in own]
            for name, own in zip(self.weights, self.slots, strict=True)
        ]
        return State(weights, slots, [named[name] for name in self._layer_state_names()])

    def expected(self) -> dict[str, npz.ArrayType | None]:
        """The shape and type of each array by name."""
        if self.like:
            return {name: npz.kind_of(array) for name, array in self.named(self.like).items()}
        slots = [
            f"optimizer/{name}/{slot}"
            for name, own in zip(self.weights, self.slots, strict=True)
            for slot in own
        ]
        weights = [f"weights/{name}" for name in self.weights]
        return dict.fromkeys([*weights, *slots, *self._layer_state_names()])

    def _layer_state_names(self) -> list[str]:
        return [f"state/{name}" for name in self.layer_state]
