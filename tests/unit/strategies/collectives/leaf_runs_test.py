"""Do partial sums of any runs of leaves add up to the bits of `tree_sum` over all of them?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.collectives.leaf_runs import LeafRuns
from strategies.collectives.tree_sum import tree_sum


def _parenthesized(a: str, b: str) -> str:
    return f"({a}+{b})"


counts_of_runs = st.lists(st.integers(0, 20), min_size=1, max_size=9).filter(any)


@given(counts_of_runs)
def test_the_partial_sums_of_any_runs_are_added_in_the_order_of_tree_sum(counts):
    runs = LeafRuns(tuple(counts))
    leaves = [str(leaf) for leaf in range(sum(counts))]
    sent = [
        term
        for rank, run in enumerate(runs.runs)
        for term in runs.partial_sums(rank, leaves[run.start : run.stop], _parenthesized)
    ]
    assert runs.total(sent, _parenthesized) == tree_sum(leaves, _parenthesized)


@given(counts_of_runs, st.integers(0, 2**32))
def test_sums_of_vectors_have_the_same_bits(counts, seed):
    runs, random = LeafRuns(tuple(counts)), np.random.default_rng(seed)
    scales = 10.0 ** random.integers(-6, 6, (sum(counts), 3))
    leaves = list((random.normal(size=scales.shape) * scales).astype(np.float32))
    sent = [
        term
        for rank, run in enumerate(runs.runs)
        for term in runs.partial_sums(rank, leaves[run.start : run.stop])
    ]
    assert runs.total(sent).tobytes() == tree_sum(leaves).tobytes()


@given(counts_of_runs)
def test_no_worker_sends_two_sums_that_the_tree_adds_to_each_other(counts):
    runs = LeafRuns(tuple(counts))
    whole = tree_sum([f"{leaf}." for leaf in range(sum(counts))], _parenthesized)
    for rank, run in enumerate(runs.runs):
        sent = runs.partial_sums(rank, [f"{leaf}." for leaf in run], _parenthesized)
        for first, second in zip(sent, sent[1:], strict=False):
            assert _parenthesized(first, second) not in whole


@pytest.mark.parametrize(
    ("counts", "roots"),
    [
        ((4, 4), [[(0, 4)], [(4, 8)]]),
        ((2, 1, 1), [[(0, 2)], [(2, 3)], [(3, 4)]]),
        ((1, 3), [[(0, 1)], [(1, 2), (2, 4)]]),
        ((0, 5), [[], [(0, 5)]]),
        (
            (3, 4),
            [[(0, 2), (2, 3)], [(3, 4), (4, 7)]],
        ),  # 4, 5 and 6 are the last, shorter, subtree.
    ],
)
def test_a_worker_sends_one_sum_for_each_largest_subtree(counts, roots):
    found = [[(r.start, r.stop) for r in own] for own in LeafRuns(counts).roots]
    assert found == roots


@given(st.integers(1, 40), st.integers(1, 12))
def test_even_runs_differ_by_one_leaf_at_most(leaves, workers):
    counts = LeafRuns.even(leaves, workers).counts
    assert sum(counts) == leaves and len(counts) == workers
    assert max(counts) - min(counts) <= 1 and list(counts) == sorted(counts, reverse=True)


@given(counts_of_runs)
def test_partial_sums_that_are_a_level_of_the_tree_are_added_by_tree_sum_as_it_does(counts):
    runs = LeafRuns(tuple(counts))
    leaves = [str(leaf) for leaf in range(sum(counts))]
    held = [runs.partial_sums(r, leaves[run.start : run.stop], _parenthesized)
            for r, run in enumerate(runs.runs)]  # fmt: skip
    assert not runs.is_level or tree_sum([own[0] for own in held], _parenthesized) == tree_sum(
        leaves, _parenthesized
    )


@pytest.mark.parametrize(
    ("counts", "is_level"),
    [
        *[
            ((1,) * 4, True),
            ((4,) * 8, True),
            ((2, 2, 2, 1), True),
            ((7,), True),
            ((1, 1, 1), True),
        ],
        *[((3,) * 4, False), ((1, 1, 2, 4), False), ((4, 4, 0, 0), False), ((1, 2, 1), False)],
    ],
)
def test_equal_runs_of_a_power_of_two_of_leaves_are_a_level_of_the_tree(counts, is_level):
    assert LeafRuns(counts).is_level == is_level
