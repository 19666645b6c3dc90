"""Is a state that was cut into shards and joined again the same state?"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strategies.parameter_server.division import cut, join, split
from strategies.state import State

_SHAPES = st.lists(
    st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple), min_size=1, max_size=6
)


def _state(shapes, num_scalars, num_moments):
    """Weights and an optimizer's slots: scalars with the same value for each weight, and moments."""
    random = np.random.default_rng(0)
    scalars = [np.int64(17), np.float32(0.001)][:num_scalars]
    weights = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    slots = [
        [np.asarray(scalar) for scalar in scalars]
        + [random.normal(size=shape).astype(np.float32) for _ in range(num_moments)]
        for shape in shapes
    ]
    return State(weights, slots)


def _sharded(state, num_shards):
    """(flat parts, slots of each shard), cut as ParameterServerRuntime does."""
    flat, slots = join(state)
    sizes = [len(part) for part in np.array_split(flat, num_shards)]
    ends = np.cumsum(sizes)
    shards = [cut(flat, slots, end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return [part for part, _ in shards], [own for _, own in shards]


def _assert_equal(state, other):
    for mine, theirs in zip(state.weights, other.weights, strict=True):
        assert np.array_equal(mine, theirs) and mine.dtype == theirs.dtype
    for own, others in zip(state.slots, other.slots, strict=True):
        for mine, theirs in zip(own, others, strict=True):
            assert np.array_equal(mine, theirs) and mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape


@given(_SHAPES, st.integers(1, 2), st.integers(0, 3), st.integers(1, 9))
def test_cutting_and_joining_again_changes_nothing(shapes, num_scalars, num_moments, num_shards):
    state = _state(shapes, num_scalars, num_moments)
    parts, slots = _sharded(state, num_shards)
    _assert_equal(split(np.concatenate(parts), slots, shapes), state)


@given(_SHAPES, st.integers(1, 9))
def test_every_weight_is_in_one_shard_and_shard_sizes_differ_by_at_most_one(shapes, num_shards):
    flat, _ = join(_state(shapes, 2, 1))
    parts, slots = _sharded(_state(shapes, 2, 1), num_shards)
    assert np.array_equal(np.concatenate(parts), flat)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for size, (iteration, learning_rate, moment) in zip(sizes, slots, strict=True):
        assert iteration == 17 and learning_rate == np.float32(0.001)
        assert moment.shape == (size,)


def test_two_shards_of_a_small_net_hold_the_expected_numbers():
    weights = [np.arange(4, dtype=np.float32).reshape(2, 2), np.array([4], np.float32)]
    slots = [[np.asarray(1), 10 + weights[0]], [np.asarray(1), 10 + weights[1]]]
    parts, own = _sharded(State(weights, slots), 2)
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4]]
    assert [slot.tolist() for slot in own[0]] == [1, [10, 11, 12]]
    assert [slot.tolist() for slot in own[1]] == [1, [13, 14]]
