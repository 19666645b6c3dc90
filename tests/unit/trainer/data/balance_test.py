"""Are blocks divided by speed, so that a step is as short as it can be, and moved only if that pays?"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data import balance

speeds_of_workers = st.lists(st.floats(0.01, 100), min_size=1, max_size=4)


def _step(counts, speeds):
    """How long the slowest computes."""
    return max(count / speed for count, speed in zip(counts, speeds, strict=True))


@given(speeds_of_workers, st.integers(0, 5))
def test_no_other_division_has_a_shorter_step(speeds, more):
    blocks = len(speeds) + more
    found = balance.divided(blocks, speeds)
    each = itertools.product(range(1, blocks + 1), repeat=len(speeds))
    others = [counts for counts in each if sum(counts) == blocks]
    assert found in others
    assert _step(found, speeds) == min(_step(counts, speeds) for counts in others)


@pytest.mark.parametrize(
    ("blocks", "speeds", "counts"),
    [
        (4, [1, 1, 1], (2, 1, 1)),
        (8, [1, 1, 1, 1, 1], (2, 2, 2, 1, 1)),
        (8, [2, 1], (5, 3)),
        (16, [2, 1], (11, 5)),
        (8, [1, 0.5, 1], (3, 2, 3)),
        (4, [1000, 1, 1], (2, 1, 1)),  # A worker without a block would be no worker.
    ],
)
def test_a_worker_gets_blocks_as_its_speed_allows(blocks, speeds, counts):
    assert balance.divided(blocks, speeds) == counts


def test_blocks_move_where_that_shortens_the_step_by_a_tenth():
    no_time = {1: 0.0, 2: 0.0}  # For an exchange: a step takes what it computes.
    assert balance.moved((4, 4), (4.0, 8.0), no_time) == (5, 3)
    assert balance.moved((5, 3), (5.0, 6.0), no_time) == (5, 3)
    assert balance.moved((5, 3), (5.0, 3.0), no_time) == (4, 4)  # The second is no longer slow.
    # 6 blocks would take 6.6, and 7 take 7.0: not a tenth less.
    assert balance.moved((7, 5), (7.0, 5.5), {3: 0.0}) == (7, 5)


def test_a_division_into_few_partial_sums_is_taken_where_the_exchange_takes_long():
    # 15 + 9 would compute for 1 s less, but send 4 sums from a worker where 16 + 8 have one each.
    assert balance.moved((12, 12), (12.0, 19.9), {2: 10.0}) == (16, 8)
    assert balance.moved((12, 12), (12.0, 19.9), {2: 0.0}) == (15, 9)


def test_a_division_that_was_slower_is_left_again_and_not_taken_twice():
    exchanges = {1: 4.0, 3: 20.0}  # 11 blocks are 3 sums, 8 are one.
    assert balance.moved((11, 5), (11.0, 10.0), exchanges) == (8, 8)
    assert balance.moved((8, 8), (8.0, 16.0), {1: 4.0, 2: 15.0, 3: 20.0}) == (8, 8)
    # Until the slow worker is so slow that it pays: 15 blocks are 4 sums, expected to take 16 s.
    assert balance.moved((8, 8), (8.0, 80.0), {1: 4.0, 2: 15.0, 3: 20.0}) == (15, 1)


def test_shares_of_larger_units_leave_the_rest_to_the_last_worker():
    assert [*balance.rounded(24, [2, 1])] == [(16, 8)] * 5
    assert [*balance.rounded(22, [1, 1])] == [(11, 11), (12, 10), (12, 10), (16, 6), (16, 6)]
    assert [*balance.rounded(4, [1, 1, 1])] == [(2, 1, 1)]


@given(speeds_of_workers, st.integers(0, 60))
def test_nothing_moves_twice_where_speeds_stay_the_same(speeds, more):
    counts = balance.divided(len(speeds) + more, [1] * len(speeds))
    for _ in range(2):
        before = counts
        taken = [n / s for n, s in zip(counts, speeds, strict=True)]
        counts = balance.moved(counts, taken, {balance.most_sums(counts): 0.0})
    assert counts == before


def test_the_replicas_of_a_worker_share_its_blocks_evenly():
    runs = balance.of_replicas((5, 3), 2)
    assert runs.counts == (3, 2, 2, 1) and runs.of_groups(2).counts == (5, 3)
