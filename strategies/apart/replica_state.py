"""How is what each logical replica keeps part of one state?

As arrays with a dimension of the replicas in front, so that a checkpoint names each once, and any number
of workers can take their own replicas out of it. `begin` makes the state in which a run starts, `split`
and `joined` go from a state to the replicas and back.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from strategies.apart.round import Kept, Shared
from strategies.runtime import Program
from strategies.state import State
from strategies.sync.agreement import Agreement, Memory

AGREEMENTS, UPDATE_BYTES = "agreements", "update_bytes"
_VELOCITY, _RESIDUAL = "velocity", "residual"


def begin(agreement: Agreement, state: State) -> State:
    """The state with which the agreement's replicas start, from that of one replica."""
    if not agreement.trains_apart:
        return state
    slots = state.slots
    if agreement.slots == "keep":
        slots = _for_each(agreement.replicas, slots)
    elif agreement.slots == "reset":
        slots = [[] for _ in slots]
    memory: Memory = {
        AGREEMENTS: np.array(0, np.int64),
        UPDATE_BYTES: np.array(0, np.int64),
        **agreement.initial_memory(),
    }
    if velocities := agreement.outer.initial(state.weights):
        memory[_VELOCITY] = velocities
    if residual := agreement.channel.initial(state.weights):
        memory[_RESIDUAL] = _for_each(agreement.replicas, residual)
    return State(state.weights, slots, state.layer_state, memory)


def of_one(state: State, program: Program) -> State:
    """The state of a single replica with the weights of `state`, which may be that of several."""
    if not state.memory:
        return state
    return State(state.weights, program.initial_slots(state.weights), state.layer_state)


def split(
    agreement: Agreement, state: State, replicas: range, initial_slots: list[list[np.ndarray]]
) -> tuple[Shared, list[Kept], Memory]:
    """What all replicas have alike, what each of `replicas` keeps, and what else the mode remembers.

    `initial_slots`: those of an optimizer before its first step.
    """
    slots = {"keep": [], "average": state.slots, "reset": initial_slots}[agreement.slots]
    memory = dict(state.memory)
    velocities, residual = memory.pop(_VELOCITY, []), memory.pop(_RESIDUAL, [])
    own_slots = state.slots if agreement.slots == "keep" else []
    shared = Shared(state.weights, slots, state.layer_state, velocities)
    return shared, [Kept(_of(own_slots, r), _of(residual, r)) for r in replicas], memory


def joined(agreement: Agreement, shared: Shared, kept: Sequence[Kept], memory: Memory) -> State:
    """The state of which `split` made these, with what every replica keeps."""
    slots = [[] for _ in shared.weights] if agreement.slots == "reset" else shared.slots
    if agreement.slots == "keep":
        slots = _stacked([one.slots for one in kept])
    memory = dict(memory)
    if shared.velocities:
        memory[_VELOCITY] = shared.velocities
    if kept and kept[0].residual:
        memory[_RESIDUAL] = _stacked([one.residual for one in kept])
    return State(shared.weights, slots, shared.layer_state, memory)


def to_bytes(kept: Kept) -> np.ndarray:
    """uint8: all arrays of what one replica keeps."""
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in _flat(kept)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def from_bytes(packed: np.ndarray, like: Kept) -> Kept:
    """What `to_bytes` packed; `like` has its shapes and types."""
    start = 0

    def next_array(array: np.ndarray) -> np.ndarray:
        nonlocal start
        end = start + array.nbytes
        found = packed[start:end].copy().view(array.dtype).reshape(array.shape)
        start = end
        return found

    return Kept(*_mapped(next_array, like))


def _for_each(replicas: int, nest: Any) -> Any:
    return _mapped(lambda array: np.broadcast_to(array, (replicas, *np.shape(array))), nest)


def _of(nest: Any, replica: int) -> Any:
    return _mapped(lambda array: np.array(array[replica]), nest)


def _stacked(nests: Sequence[Any]) -> Any:
    """One nest of arrays from several of one structure."""
    if isinstance(nests[0], list):
        return [_stacked(parts) for parts in zip(*nests, strict=True)]
    return np.stack(nests)


def _flat(nest: Any) -> list[np.ndarray]:
    if isinstance(nest, (list, tuple)):
        return [array for part in nest for array in _flat(part)]
    return [nest]


def _mapped(function: Any, nest: Any) -> Any:
    if isinstance(nest, (list, tuple)):
        return [_mapped(function, part) for part in nest]
    return function(nest)
