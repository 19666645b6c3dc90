"""Do folds have the properties of scikit-learn's KFold and StratifiedKFold?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, StratifiedKFold

from trainer.order import folds


def _sizes(assigned, count):
    return np.bincount(assigned, minlength=count).tolist()


@settings(max_examples=60)
@given(st.data(), st.integers(2, 300), st.integers(0, 2**40))
def test_folds_are_disjoint_cover_the_data_and_have_the_sizes_of_kfold(data, examples, seed):
    count = data.draw(st.integers(2, min(examples, 12)))
    assigned = folds.assignment(examples, count, seed)
    assert assigned.shape == (examples,) and {*assigned.tolist()} == {*range(count)}
    theirs = KFold(count).split(np.zeros(examples))
    assert _sizes(assigned, count) == [len(held_out) for _, held_out in theirs]
    assert np.array_equal(assigned, folds.assignment(examples, count, seed))


@settings(max_examples=60)
@given(st.data(), st.integers(2, 5), st.integers(0, 2**40))
def test_stratified_folds_have_the_sizes_of_scikit_learns(data, count, seed):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=200)))
    assigned = folds.assignment(len(labels), count, seed, labels)
    sizes = _sizes(assigned, count)
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == len(labels)
    for label in np.unique(labels):
        of_class = _sizes(assigned[labels == label], count)
        assert max(of_class) - min(of_class) <= 1
    # With its own order of classes, which is that of their first examples, its folds have these sizes.
    in_order = np.unique(labels, return_inverse=True)[1]
    ranked = np.sort(in_order)
    if np.bincount(in_order).min() >= count:
        theirs = [held_out for _, held_out in StratifiedKFold(count).split(ranked, ranked)]
        ours = [np.flatnonzero(assigned == fold) for fold in range(count)]
        for mine, other in zip(ours, theirs, strict=True):
            found, expected = (np.bincount(one) for one in (in_order[mine], ranked[other]))
            assert np.array_equal(found, expected)


def test_the_folds_are_those_that_earlier_runs_were_made_with():
    assert folds.assignment(10, 3, 0).tolist() == [2, 1, 0, 2, 1, 2, 1, 0, 0, 0]
    other = folds.assignment(1000, 5, 1)
    assert not np.array_equal(other, folds.assignment(1000, 5, 2))
    assert abs(np.corrcoef(np.arange(1000), other)[0, 1]) < 0.1  # Taken from everywhere.


def test_an_empty_fold_is_refused():
    with pytest.raises(ValueError, match="from 1 to 3. Received: 4"):
        folds.assignment(3, 4, 0)
