"""Does each replica read its own share, and is a round a fair sample of the clients?"""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.order.apart_order import ClientRounds, ReplicaShares
from trainer.order.sample_order import PADDING

_SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)
_SEEDS = st.integers(0, 2**31 - 1)


def _shares(sizes, seed):
    """Disjoint shares of these sizes, in a random order."""
    examples = np.random.default_rng(seed).permutation(sum(sizes)).astype(np.int32)
    return [np.sort(part) for part in np.split(examples, np.cumsum(sizes)[:-1])]


@given(_SIZES, st.integers(1, 9), _SEEDS, st.integers(0, 3))
def test_an_epoch_visits_every_example_once_in_the_columns_of_its_share(sizes, batch, seed, epoch):
    shares = _shares(sizes, seed)
    order = ReplicaShares(shares, batch, seed)
    first = epoch * order.steps_per_epoch
    rows = order.steps_batches(first, order.steps_per_epoch)
    assert rows.shape == (max(-(-size // batch) for size in sizes), batch * len(sizes))
    for number, share in enumerate(shares):
        own = rows[:, number * batch : (number + 1) * batch].ravel()
        assert sorted(own[own != PADDING]) == share.tolist()
        assert (own[: len(share)] != PADDING).all()  # No row is empty before the last example.
    assert (order.steps_visits(first, order.steps_per_epoch) == epoch).all()


@st.composite
def _rounds(draw):
    sizes = draw(_SIZES)
    seed, drawn = draw(_SEEDS), draw(st.integers(1, len(sizes)))
    batch, epochs = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    shares = _shares(sizes, seed)
    return shares, batch, epochs, ClientRounds(shares, drawn, batch, epochs, seed)


@given(_rounds(), st.integers(0, 50))
def test_a_clients_rows_have_each_of_its_examples_once_in_each_pass(case, round_):
    shares, batch, epochs, order = case
    rows, passes = order.steps_batches(round_, 1), order.steps_visits(round_, 1)
    assert len(rows) == order.rows_per_step
    for column, client in enumerate(order.clients(round_)):
        own = rows[:, column * batch : (column + 1) * batch]
        when = passes[:, column * batch : (column + 1) * batch]
        for one in range(epochs):
            found = own[when == round_ * epochs + one]
            assert sorted(found[found != PADDING]) == shares[client].tolist()
        is_step = (own != PADDING).any(axis=1)
        assert not (np.diff(is_step.astype(int)) > 0).any()  # Steps come before padding.


@given(_rounds(), st.integers(0, 50))
def test_a_round_is_a_pure_function_of_the_seed_and_its_number(case, round_):
    shares, batch, epochs, order = case
    again = ClientRounds(shares, len(order.clients(0)), batch, epochs, order._draws.seed)
    again.steps_batches(0, 3)
    np.testing.assert_array_equal(order.steps_batches(round_, 2), again.steps_batches(round_, 2))
    both = [order.steps_batches(round_, 1), order.steps_batches(round_ + 1, 1)]
    np.testing.assert_array_equal(order.steps_batches(round_, 2), np.vstack(both))


@given(_SEEDS, st.integers(1, 20))
def test_a_round_has_distinct_clients_in_order(seed, drawn):
    order = ClientRounds(_shares([1] * 20, 0), drawn, 1, 1, seed)
    for round_ in range(20):
        clients = order.clients(round_)
        assert len({*clients}) == drawn and clients == sorted(clients)
        assert {*clients} <= {*range(20)}


def test_all_clients_and_pairs_of_them_are_drawn_equally_often():
    clients, drawn, rounds = 50, 10, 4000
    order = ClientRounds(_shares([1] * clients, 0), drawn, 1, 1, seed=3)
    chosen = np.zeros((rounds, clients))
    for round_ in range(rounds):
        chosen[round_, order.clients(round_)] = 1

    def is_binomial(counts, share):
        # 5 standard deviations: one of 1,275 counts is further away once in 1,400 tests.
        return np.abs(counts - rounds * share).max() < 5 * math.sqrt(rounds * share * (1 - share))

    assert is_binomial(chosen.sum(axis=0), drawn / clients)
    pairs = (chosen.T @ chosen)[np.triu_indices(clients, 1)]
    assert is_binomial(pairs, drawn * (drawn - 1) / (clients * (clients - 1)))
    # And from one round to the next.
    following = chosen[:-1].T @ chosen[1:]
    assert is_binomial(following, (drawn / clients) ** 2)
