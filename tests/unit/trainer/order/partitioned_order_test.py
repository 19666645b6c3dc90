"""Does each step have its part of every share, and each epoch every example once?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.order.partitioned_order import PartitionedOrder
from trainer.order.sample_order import PADDING, SampleOrder

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=30)


def _shares(sizes, seed=0):
    examples = np.random.default_rng(seed).permutation(sum(sizes)).astype(np.int32)
    return [np.sort(share) for share in np.split(examples, np.cumsum(sizes)[:-1])]


@settings(max_examples=60)
@given(SIZES, st.integers(1, 70), st.integers(0, 2**31 - 1), st.booleans(), st.integers(0, 5))
def test_an_epoch_visits_every_example_of_every_share_once(sizes, batch, seed, shuffle, epoch):
    order = PartitionedOrder(_shares(sizes, seed), batch, seed, shuffle)
    steps = order.steps_batches(epoch * order.steps_per_epoch, order.steps_per_epoch)
    visited = steps[steps != PADDING]
    assert np.array_equal(np.sort(visited), np.arange(sum(sizes)))


@settings(max_examples=60)
@given(SIZES, st.integers(0, 2**31 - 1), st.data())
def test_any_positions_have_the_examples_that_the_whole_epoch_has_there(sizes, seed, data):
    order = PartitionedOrder(_shares(sizes, seed), 8, seed)
    whole = order.examples(2, np.arange(sum(sizes)))
    places = st.lists(st.integers(0, sum(sizes) - 1), max_size=20)
    positions = np.array(data.draw(places), np.int64)
    assert np.array_equal(order.examples(2, positions), whole[positions])


@settings(max_examples=60)
@given(SIZES, st.data())
def test_before_any_position_each_share_is_near_its_part(sizes, data):
    order = PartitionedOrder(_shares(sizes), 8, 0)
    position = data.draw(st.integers(0, sum(sizes)))
    turns = order.turns_before(position)
    assert turns.sum() == position
    # All shares are within one example of one moment of the epoch, and so are their means of it.
    part = position / sum(sizes)
    assert (
        np.abs(turns - part * np.array(sizes)) <= 1 + len(sizes) * np.array(sizes) / sum(sizes)
    ).all()


@pytest.mark.parametrize("sizes", [[100] * 10, [64, 64]])
def test_shares_of_one_size_take_turns(sizes):
    shares = _shares(sizes)
    owner = np.empty(sum(sizes), np.int64)
    for number, share in enumerate(shares):
        owner[share] = number
    examples = PartitionedOrder(shares, 8, 5).examples(0, np.arange(sum(sizes)))
    rounds = owner[examples].reshape(-1, len(sizes))
    assert (np.sort(rounds, axis=1) == np.arange(len(sizes))).all()


def test_a_hundred_shares_of_one_example_are_spread_over_the_epoch():
    order = PartitionedOrder(_shares([900] + [1] * 100), 100, 0)
    small = [order.turns_before(position)[1:].sum() for position in range(0, 1001, 100)]
    assert np.diff(small).min() >= 7 and np.diff(small).max() <= 13


def test_one_share_has_the_order_of_a_run_without_shares():
    order, plain = PartitionedOrder([np.arange(500)], 64, seed=9), SampleOrder(500, 64, seed=9)
    assert np.array_equal(order.steps_batches(5, 20), plain.steps_batches(5, 20))


def test_each_share_has_another_order_in_each_epoch_and_its_own_without_a_shuffle():
    shares = [np.arange(50), np.arange(50, 100)]
    first, second = (PartitionedOrder(shares, 10, 0).examples(e, np.arange(100)) for e in (0, 1))
    in_share = [first[first < 50], first[first >= 50] - 50, second[second < 50]]
    assert len({one.tobytes() for one in in_share}) == 3
    plain = PartitionedOrder(shares, 10, 0, shuffle=False).examples(3, np.arange(100))
    assert plain[plain < 50].tolist() == [*range(50)]


def test_a_position_outside_of_the_epoch_is_refused():
    with pytest.raises(IndexError, match="must be in"):
        PartitionedOrder([np.arange(5)], 2, 0).examples(0, np.array([5]))


def test_an_order_too_large_for_the_cache_is_the_same(monkeypatch):
    shares = _shares([300, 20, 7])
    whole = PartitionedOrder(shares, 16, 1).steps_batches(3, 40)
    monkeypatch.setattr("trainer.order.sample_order._CACHE_LIMIT", 0)
    assert np.array_equal(PartitionedOrder(shares, 16, 1).steps_batches(3, 40), whole)


def test_the_order_is_the_one_that_earlier_runs_were_made_with():
    order = PartitionedOrder([np.arange(0, 7), np.arange(7, 10)], 4, seed=2)
    assert order.examples(1, np.arange(10)).tolist() == [2, 5, 7, 4, 1, 8, 0, 6, 3, 9]
