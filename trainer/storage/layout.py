"""Under which names are the arrays of a run saved?

`Layout` names its weights, the optimizer slots of each, its layer state, and what the agreement between
replicas remembers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from strategies.state import State
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
        named |= dict(zip(self._layer_state_names(), state.layer_state, strict=True))
        for name, held in state.memory.items():
            named |= dict(zip(self._memory_names(name, held), _list(held), strict=True))
        return named

    def state(self, named: Mapping[str, Any]) -> State:
        weights = [named[f"weights/{name}"] for name in self.weights]
        slots = [
            [named[f"optimizer/{name}/{slot}"] for slot in own]
            for name, own in zip(self.weights, self.slots, strict=True)
        ]
        layer_state = [named[name] for name in self._layer_state_names()]
        memory = {}
        for name, like in (self.like.memory if self.like else {}).items():
            found = [named[one] for one in self._memory_names(name, like)]
            memory[name] = found if isinstance(like, list) else found[0]
        return State(weights, slots, layer_state, memory)

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

    def _memory_names(self, name: str, held: Any) -> list[str]:
        if isinstance(held, list):
            return [f"sync/{name}/{weight}" for weight in self.weights]
        return [f"sync/{name}"]

    def _layer_state_names(self) -> list[str]:
        return [f"state/{name}" for name in self.layer_state]


def _list(held: Any) -> list[np.ndarray]:
    return held if isinstance(held, list) else [held]
