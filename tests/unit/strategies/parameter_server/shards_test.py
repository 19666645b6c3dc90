"""Does a shard apply every push once, and merge late ones correctly?"""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from strategies.parameter_server.shards import Shard

_STEPS = 20
_NAMES = (f"shard_under_test_{number}" for number in itertools.count())


def _slots(iteration, rate, moment):
    return [np.asarray(iteration, np.int64), np.float32(rate), np.asarray(moment, np.float32)]


def _shard(num_workers, slots):
    weights = np.array([1, 2, 3], np.float32)
    empty = np.zeros(0, np.float32), np.zeros(0, np.int64)
    return _shard_of(num_workers, weights, slots, *empty)


def _shard_of(num_workers, weights, slots, loose, ints, keeps_start=False):
    return Shard(
        weights,
        slots,
        loose,
        ints,
        num_steps=_STEPS,
        max_unfinished=num_workers,
        num_sums=3,
        device="CPU:0",
        name=next(_NAMES),
        has_moments=any(np.ndim(slot) for slot in slots),
        keeps_start=keeps_start,
    )


@pytest.fixture
def shard():
    """For a single worker: weights with an iteration count, a rate and a moment, on this machine."""
    return _shard(1, _slots(0, 0.1, [0, 0, 0]))


def _push(
    shard, first_step, num_steps, pulled, weights, moment, sums=(1, 2, 3), loose=(), moved=()
):
    pushed = np.array([*weights, 0.1, *moment, *loose, *sums], np.float32)
    steps = tf.constant([first_step, num_steps])
    moved = tf.constant([num_steps, *moved], tf.int64)
    seconds = tf.constant(0.5, tf.float64)
    return bool(shard.push(steps, pulled, tf.constant(pushed), moved, seconds))


def _pull(shard, first_step=0, num_steps=0):
    return shard.pull(tf.constant([first_step, num_steps]))


def _state(shard):
    weights, (iteration, rate, moment) = shard.arrays()
    return weights.tolist(), int(iteration), moment.tolist()


def test_the_values_of_a_single_worker_are_kept_bit_for_bit(shard):
    awkward = np.float32([0.1, 1e-30, -3e7])  # 1 + (0.1 - 1) is not 0.1 in float32.
    assert _push(shard, 0, 5, _pull(shard), awkward, [7, 8, 9])
    assert _state(shard) == (awkward.tolist(), 5, [7, 8, 9])


def test_each_of_two_workers_moves_weights_and_moments_by_half():
    shard = _shard(2, _slots(0, 0.1, [0, 0, 0]))
    first, second = _pull(shard), _pull(shard)
    assert _push(shard, 0, 5, first, [2, 4, 6], [4, 4, 4])
    assert _state(shard) == ([1.5, 3, 4.5], 5, [2, 2, 2])
    assert _push(shard, 5, 3, second, [2, 2, 3], [4, 0, 8])  # From weights 1, 2 and 3.
    assert _state(shard) == ([2, 3, 4.5], 8, [3, 1, 5])


def test_without_moments_the_deltas_of_all_workers_are_added():
    shard = _shard(2, _slots(0, 0.1, [])[:2])
    first, second = _pull(shard), _pull(shard)
    assert _push(shard, 0, 5, first, [2, 4, 6], [])
    assert _push(shard, 5, 3, second, [1.5, 2, 2], [])
    weights, (iteration, rate) = shard.arrays()
    assert weights.tolist() == [2.5, 4, 5] and iteration == 8 and rate == np.float32(0.1)


def test_a_unit_pushed_again_is_ignored(shard):
    pulled = _pull(shard)
    assert _push(shard, 10, 4, pulled, [2, 2, 2], [1, 1, 1])
    before = _state(shard)
    assert not _push(shard, 10, 4, pulled, [5, 5, 5], [5, 5, 5])
    assert not _push(shard, 10, 4, _pull(shard), [5, 5, 5], [5, 5, 5])
    assert _state(shard) == before == ([2, 2, 2], 4, [1, 1, 1])
    assert int(shard.applied_steps) == 4
    assert shard.sums.numpy().tolist() == [1, 2, 3]


def test_a_unit_marks_only_its_own_steps(shard):
    for first_step, num_steps in ((5, 5), (0, 5), (19, 1), (10, 9)):
        pulled = _pull(shard)
        assert _push(shard, first_step, num_steps, pulled, [1, 2, 3], [0, 0, 0])
    assert int(shard.applied_steps) == _state(shard)[1] == _STEPS
    assert shard.sums.numpy().tolist() == [4, 8, 12]


def test_a_unit_without_steps_changes_nothing(shard):
    _push(shard, 0, 0, _pull(shard), [1, 2, 3], [0, 0, 0], sums=(0, 0, 0))
    assert _state(shard) == ([1, 2, 3], 0, [0, 0, 0])
    assert _push(shard, 0, 5, _pull(shard), [2, 2, 2], [1, 1, 1])


def test_loose_values_are_averaged_and_loose_integers_added_by_any_optimizer():
    for slots in (_slots(0, 0.1, [0, 0, 0]), _slots(0, 0.1, [])[:2]):
        moment = [0, 0, 0][: sum(np.size(slot) for slot in slots[2:])]
        weights = np.array([1, 2, 3], np.float32)
        loose, ints = np.float32([8, 0]), np.int64([2**40])
        shard = _shard_of(2, weights, slots, loose, ints)
        first, second = _pull(shard), _pull(shard)
        assert _push(shard, 0, 5, first, weights, moment, loose=[4, 2], moved=[5])
        assert _push(shard, 5, 5, second, weights, moment, loose=[4, 2], moved=[5])
        assert not _push(shard, 5, 5, second, weights, moment, loose=[9, 9], moved=[5])
        found, counts = shard.loose_arrays()
        assert found.tolist() == [5, 1.5] and counts.tolist() == [2**40 + 10]
        assert int(shard.arrays()[1][0]) == 10


def test_the_loose_values_of_a_single_worker_are_kept_bit_for_bit():
    slots, ints = _slots(0, 0.1, [])[:2], np.zeros(0, np.int64)
    shard = _shard_of(1, np.float32([1, 2, 3]), slots, np.float32([1]), ints)
    assert _push(shard, 0, 5, _pull(shard), [1, 2, 3], [], loose=[0.1])
    assert shard.loose_arrays()[0].tolist() == [np.float32(0.1)]


def test_a_unit_that_is_taken_again_starts_from_what_it_started_from():
    """Its worker died when only this of several shards had merged it."""
    weights, ints = np.float32([1, 2, 3]), np.int64([7])
    shard = _shard_of(
        1, weights, _slots(0, 0.1, [0, 0, 0]), np.float32([8]), ints, keeps_start=True
    )
    _push(shard, 0, 5, _pull(shard, 0, 5), [2, 2, 2], [1, 1, 1], loose=[9], moved=[5])
    first = _pull(shard, 5, 5)
    assert _push(shard, 5, 5, first, [3, 3, 3], [2, 2, 2], loose=[0], moved=[5])
    after = _state(shard)
    again = _pull(shard, 5, 5)
    assert again.values.numpy().tolist() == first.values.numpy().tolist()
    assert again.counts.numpy().tolist() == first.counts.numpy().tolist() == [5, 12]
    assert not _push(shard, 5, 5, again, [4, 4, 4], [4, 4, 4], loose=[4], moved=[5])
    assert _state(shard) == after == ([3, 3, 3], 10, [2, 2, 2])
    assert _pull(shard, 5, 5).counts.numpy().tolist() == [5, 12]  # And once more.
    # Only that one: the next unit, and one that warms a new worker up, start from what there is.
    for unit in ((10, 5), (5, 0)):
        assert _pull(shard, *unit).values[0] == 3 and _pull(shard, *unit).counts[0] == 10
