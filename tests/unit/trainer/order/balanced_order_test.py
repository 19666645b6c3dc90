"""Is each class visited equally often, each of its examples too, and all of it from the seed alone?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.order.balanced_order import BalancedOrder
from trainer.order.sample_order import PADDING

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(
    lambda found: np.unique(found, return_inverse=True)[1]
)


@settings(max_examples=60)
@given(LABELS, st.integers(1, 17), st.integers(0, 2**40), st.booleans())
def test_each_class_and_each_of_its_examples_comes_equally_often(labels, batch, seed, shuffle):
    order = BalancedOrder(labels, batch, seed, shuffle)
    epochs = 3
    rows = order.steps_batches(0, epochs * order.steps_per_epoch)
    visits = order.steps_visits(0, epochs * order.steps_per_epoch)
    used, earlier = rows[rows != PADDING], visits[rows != PADDING]
    assert len(used) == epochs * len(labels)
    for epoch in range(epochs):
        own = used[epoch * len(labels) :][: len(labels)]
        per_class = np.bincount(labels[own], minlength=labels.max() + 1)
        assert per_class.max() - per_class.min() <= 1
    for label in range(labels.max() + 1):
        per_example = np.bincount(used, minlength=len(labels))[labels == label]
        assert per_example.max() - per_example.min() <= 1
    # No example has the same number of earlier visits twice, so it is augmented anew each time.
    assert len({*zip(used.tolist(), earlier.tolist(), strict=True)}) == len(used)
    for example in {*used.tolist()}:
        assert sorted(earlier[used == example]) == list(range((used == example).sum()))


@settings(max_examples=30)
@given(LABELS, st.integers(1, 17), st.integers(0, 40), st.integers(1, 20))
def test_any_steps_are_those_of_the_whole_run(labels, batch, first, count):
    whole = BalancedOrder(labels, batch, 7).steps_batches(0, 60)
    own = BalancedOrder(labels, batch, 7).steps_batches(first, count)
    assert np.array_equal(own, whole[first : first + count])


def test_examples_of_a_class_follow_from_the_seed_and_not_from_their_order():
    labels = np.repeat([0, 1], [900, 100])
    one, other = (BalancedOrder(labels, 50, seed).step_batch(0) for seed in (0, 1))
    assert not np.array_equal(one, other)
    first_epoch = BalancedOrder(labels, 50, 0).steps_batches(0, 20)
    frequent = first_epoch[first_epoch < 900]
    assert len({*frequent.tolist()}) == 500 and frequent.max() > 850 and frequent.min() < 50


def test_a_class_without_examples_is_refused():
    with pytest.raises(ValueError, match="class 1 has no example"):
        BalancedOrder(np.array([0, 2, 2]), 4, 0)
