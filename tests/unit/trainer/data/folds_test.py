"""Does a run test on its fold and train on all others, with any kind of data?"""

import dataclasses

import numpy as np
import pytest

from trainer.config.schema import DataConfig, ExperimentConfig
from trainer.data import recipe_data
from trainer.data.dataset import DataError, Dataset, Split
from trainer.data.folds import test_on_fold as on_fold
from trainer.data.rows import Rows, take


def _dataset(count=50):
    train = Split({"a": np.arange(count)}, np.arange(count) % 3, np.arange(count) + 1.0)
    return Dataset("made_up", train, train.first(4), 3, 3, "made up")


def test_each_example_is_tested_on_in_one_fold_and_trained_on_in_all_others():
    parts = [on_fold(_dataset(), 3, fold, seed=0, is_stratified=True) for fold in range(3)]
    tested = [part.test.features["a"].tolist() for part in parts]
    assert sorted(sum(tested, [])) == list(range(50))
    for part, held_out in zip(parts, tested, strict=True):
        trained = part.train.features["a"].tolist()
        assert trained == sorted({*range(50)} - {*held_out})
        assert part.train.weights.tolist() == [one + 1 for one in trained]
        assert {*np.bincount(part.test.targets).tolist()} <= {5, 6}
    assert len({part.fingerprint for part in parts}) == 3


def test_mapped_examples_stay_mapped(tmp_path):
    array = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (50, 2))
    array[:] = np.arange(100).reshape(50, 2)
    split = Split(take(array, np.arange(50)), np.arange(50))
    found = on_fold(dataclasses.replace(_dataset(), train=split), 5, 1, 0, False)
    for part in (found.train, found.test):
        assert isinstance(part.features, Rows)
        assert np.array_equal(part.features[:3][:, 0], 2.0 * part.targets[:3])


def test_a_validation_split_is_set_aside_from_the_other_folds():
    config = ExperimentConfig(data=DataConfig(folds=4, fold=1, validation_fraction=0.1))
    found = recipe_data.load(config)
    assert [len(split) for split in found.splits.values()] == [1011, 112, 374]


def test_more_folds_than_examples_are_refused():
    with pytest.raises(
        DataError, match="at most the number of training examples, which is 50. Received: 51"
    ):
        on_fold(_dataset(), 51, 0, 0, False)
    regression = dataclasses.replace(_dataset(), train=Split(np.zeros(9), np.zeros((9, 1)) + 0.5))
    with pytest.raises(DataError, match="`data.stratified` must be left out where the examples"):
        on_fold(regression, 3, 0, 0, True)
