"""Is what belongs to no single weight the same after it was joined and split again?"""

import numpy as np
import pytest
import tensorflow as tf

from strategies.parameter_server.layer_state import LooseArrays
from strategies.state import State

_WEIGHTS = [np.ones((2, 3), np.float32), np.ones(3, np.float32)]
_LAYER_STATE = [
    np.array([0.1, -3e7], np.float32),
    np.array([7, 2**40 + 1], np.int64),
    np.array([[True], [False]]),
    np.array([[1.5]], np.float16),
]


def _aligned():
    return [[np.array(5, np.int64), np.float32(0.5) * weight] for weight in _WEIGHTS]


def _factored():
    """As Adafactor's: the second moment of a matrix is kept as a row and a column."""
    matrix = [np.array(5, np.int64), np.float32([1, 2]), np.float32([3, 4, 5])]
    return [matrix, [np.array(5, np.int64), np.float32([6, 7, 8])]]


@pytest.mark.parametrize("slots", [_aligned(), _factored()])
def test_joining_and_splitting_again_changes_nothing(slots):
    state = State(_WEIGHTS, slots, _LAYER_STATE)
    loose = LooseArrays(state)
    floats, ints = loose.join(loose.of(state))
    assert floats.dtype == np.float32 and ints.dtype == np.int64
    arrays = loose.split(tf.constant(floats), tf.constant(ints))
    again, more = loose.joined(arrays)
    assert np.array_equal(again, floats) and np.array_equal(more, ints)
    rest = loose.without(state)
    own, layer_state = loose.restored(rest.slots, [array.numpy() for array in arrays])
    found = State(rest.weights, own, layer_state)
    for mine, theirs in zip(
        tf.nest.flatten(found.parts), tf.nest.flatten(state.parts), strict=True
    ):
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)


def test_only_slots_that_are_cut_like_the_weights_stay_with_them():
    state = State(_WEIGHTS, _aligned(), _LAYER_STATE)
    assert LooseArrays(state).without(state).slots == state.slots
    assert len(LooseArrays(state).of(state)) == len(_LAYER_STATE)
    state = State(_WEIGHTS, _factored(), _LAYER_STATE)
    assert LooseArrays(state).without(state).slots == [[], []]
    assert len(LooseArrays(state).of(state)) == len(_LAYER_STATE) + 5
