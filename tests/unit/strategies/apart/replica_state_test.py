"""Is what the replicas keep part of one state, from which each gets its own again?"""

import numpy as np
import pytest

from strategies.apart import replica_state
from strategies.apart.round import Kept
from strategies.state import State
from strategies.sync.outer import Outer
from strategies.sync.parameters import Parameters

WEIGHTS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)]
SLOTS: list[list[np.ndarray]] = [[np.array(5), np.zeros_like(weight)] for weight in WEIGHTS]
LAYER_STATE = [np.array([1, 2], np.int64)]
ONE = State(WEIGHTS, SLOTS, LAYER_STATE)


def _parts(slots: str, replicas: range = range(3)):
    agreement = Parameters(3, slots, Outer("nesterov", 0.7, 0.9))
    state = replica_state.begin(agreement, ONE)
    return agreement, state, replica_state.split(agreement, state, replicas, SLOTS)


def test_each_replica_keeps_its_own_slots():
    agreement, state, (shared, kept, memory) = _parts("keep")
    kept = [
        Kept([[count + number, moment + number] for count, moment in one.slots], one.residual)
        for number, one in enumerate(kept)
    ]
    joined = replica_state.joined(agreement, shared, kept, memory)
    assert [slot.shape for slot in joined.slots[0]] == [(3,), (3, 2, 3)]
    assert joined.slots[0][0].tolist() == [5, 6, 7]
    _, (last,), _ = replica_state.split(agreement, joined, range(2, 3), SLOTS)
    np.testing.assert_array_equal(last.slots[1][1], np.full(3, 2.0))
    assert [array.shape for array in state.flat_arrays] == [a.shape for a in joined.flat_arrays]


@pytest.mark.parametrize("slots, saved", [("average", 2), ("reset", 0)])
def test_else_all_start_a_round_with_the_same_slots(slots, saved):
    agreement, state, (shared, kept, memory) = _parts(slots)
    assert [len(own) for own in state.slots] == [saved, saved]
    assert kept == [Kept([], [])] * 3
    assert shared.slots == SLOTS
    joined = replica_state.joined(agreement, shared, kept, memory)
    assert [array.shape for array in state.flat_arrays] == [a.shape for a in joined.flat_arrays]


def test_the_memory_has_counts_and_velocities():
    _, state, (shared, _, memory) = _parts("reset")
    assert {*state.memory} == {"agreements", "update_bytes", "velocity"}
    assert [one.shape for one in shared.velocities] == [(2, 3), (3,)]
    assert {*memory} == {"agreements", "update_bytes"}


def test_what_a_replica_keeps_becomes_bytes_and_back():
    kept = Kept(SLOTS, [np.array([np.nan, -0.0], np.float32)])
    packed = replica_state.to_bytes(kept)
    assert packed.dtype == np.uint8 and packed.size == 2 * 8 + 9 * 4 + 8
    again = replica_state.from_bytes(packed, kept)
    assert replica_state.to_bytes(again).tobytes() == packed.tobytes()
    assert again.slots[0][0].shape == () and again.residual[0].dtype == np.float32
    assert replica_state.to_bytes(Kept([], [])).size == 0
