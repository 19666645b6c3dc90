"""Is a sum of hidden vectors exactly that of the plain ones, and is each message alone random?"""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from strategies.apart import fixed_point
from strategies.apart.coded_sum import CodedSum
from strategies.apart.homomorphic_sum import MAX_WORKERS, HomomorphicSum
from strategies.apart.masked_sum import MaskedSum
from strategies.apart.summation import PlainSum
from strategies.apart.summations import SUMMATIONS
from strategies.collectives.leaf_runs import LeafRuns
from strategies.collectives.tree_sum import tree_sum
from strategies.errors import ClusterError
from strategies.sync.compression import BFloat16, TopK
from tests.unit.strategies.collectives.all_reduce_test import _on_all

REPLICAS, SIZE = 7, 9000  # Two ciphertexts and a part of a third.


def _leaves():
    return np.random.default_rng(3).normal(size=(REPLICAS, SIZE)).astype(np.float32) * 100


def _totals(kind, workers, leaves):
    """What each worker gets, from carrying a run of the replicas."""
    runs = LeafRuns.even(REPLICAS, workers)

    def act(exchange, rank):
        own = [leaves[replica] for replica in runs.runs[rank]]
        summation = kind(exchange, rank, runs)
        return [summation.total(own) for _ in range(2)]

    return [total for totals in _on_all(workers, act) for total in totals]


@pytest.mark.parametrize("kind", [MaskedSum, HomomorphicSum])
def test_any_number_of_workers_gets_the_bits_of_a_single_one(kind):
    leaves = _leaves()
    single, _ = _totals(kind, 1, leaves)
    for workers in (2, 3):
        for total in _totals(kind, workers, leaves):
            np.testing.assert_array_equal(total, single)
    # Each term is rounded to half of 2**-28, and the sum to a float32.
    exact = leaves.astype(np.float64).sum(0)
    bound = REPLICAS * 2.0**-29 + np.abs(exact) * 2.0**-24
    assert np.all(np.abs(single - exact) <= bound)


@pytest.mark.parametrize("channel", [BFloat16(), TopK(0.2)])
def test_a_coded_sum_is_the_tree_of_the_weighed_updates(channel):
    counts, sizes = np.arange(1, REPLICAS + 1), [5000, SIZE - 5003]
    leaves = _leaves()
    for leaf, count in zip(leaves, counts, strict=True):
        sent, _ = channel.send([tf.constant(leaf[:-3])], [tf.zeros(SIZE - 3)], 0, 0)
        leaf[:-3], leaf[-3] = sent[0], count
    described = SimpleNamespace(
        channel=channel, update_sizes=sizes, size=SIZE, count_of=lambda rest: rest[-3]
    )

    class Described(CodedSum):
        round = described

    single, _ = _totals(Described, 1, leaves)
    for total in _totals(Described, 3, leaves):
        np.testing.assert_array_equal(total, single)
    expected = np.concatenate([leaves[:, :-3] * counts[:, np.newaxis], leaves[:, -3:]], 1)
    np.testing.assert_array_equal(single, tree_sum(expected.astype(np.float32)))


def test_a_plain_sum_is_the_tree():
    leaves = _leaves()
    single, _ = _totals(PlainSum, 1, leaves)
    for total in _totals(PlainSum, 3, leaves):
        np.testing.assert_array_equal(total, single)
    np.testing.assert_allclose(single, leaves.sum(0), atol=1e-2)


def test_one_message_alone_is_uniform_and_another_each_time():
    leaves = np.zeros((2, 1 << 15), np.float32)  # What it hides could not be less random.
    runs = LeafRuns.even(2, 2)

    def act(exchange, rank):
        summation = MaskedSum(exchange, rank, runs)
        return [summation.message([leaves[rank]]) for _ in range(2)]

    (first, second), (other, _) = _on_all(2, act)
    for message in (first, second, first - second):
        counts = np.bincount(message.view(np.uint8), minlength=256)
        assert scipy.stats.chisquare(counts).pvalue > 1e-6
    np.testing.assert_array_equal(
        first + other, fixed_point.add([fixed_point.encode(leaves[0], 2)] * 2)
    )


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=9
    )
)
def test_a_sum_in_fixed_point_does_not_depend_on_its_order(terms):
    encoded = [fixed_point.encode(np.array(term, np.float32), len(terms)) for term in terms]
    total = fixed_point.decode(fixed_point.add(encoded))
    np.testing.assert_array_equal(total, fixed_point.decode(fixed_point.add(encoded[::-1])))
    exact = np.sum(np.array(terms, np.float64), 0)
    bound = len(terms) * 2.0**-29 + np.abs(exact) * 2.0**-24
    assert np.all(np.abs(total - exact) <= bound)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e10])
def test_a_number_out_of_range_makes_the_sum_nan(bad):
    terms = [np.array([1.0, bad], np.float32), np.ones(2, np.float32)]
    encoded = [fixed_point.encode(term, 2) for term in terms]
    assert np.isnan(fixed_point.decode(fixed_point.add(encoded))).all()


def test_more_workers_than_can_be_decrypted_for_are_refused():
    exchange = SimpleNamespace(num_workers=MAX_WORKERS + 1)
    with pytest.raises(ClusterError, match="more than 256 workers, .* Received: true for 257;"):
        HomomorphicSum(exchange, 0, LeafRuns.even(MAX_WORKERS + 1, MAX_WORKERS + 1))


def test_each_way_has_a_name():
    assert [kind() for kind in SUMMATIONS.values()] == [
        PlainSum,
        CodedSum,
        MaskedSum,
        HomomorphicSum,
    ]
