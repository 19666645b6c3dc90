"""The validation split is a function of seed and size, and training never sees its examples."""

import dataclasses

import numpy as np
import pytest

from trainer.config.schema import DataConfig, ExperimentConfig
from trainer.data import recipe_data
from trainer.data.dataset import DataError, Dataset, Split, joined
from trainer.data.rows import Rows, expect_random_reads, is_mapped, take
from trainer.data.validation import set_aside

RECIPE = """
import numpy as np
from trainer.recipe import DataConfig, ExperimentConfig
def get_config():
    return ExperimentConfig(data=DataConfig(validation_fraction={fraction}))
def get_model(config, data): ...
def get_data(config):
    pairs = dict(train=(np.arange(8.0), np.arange(8)), test=(np.zeros(2), np.arange(2)))
    return pairs | dict(validation={validation})
"""


def _dataset(count: int = 100) -> Dataset:
    split = Split({"a": np.arange(count), "b": np.arange(count) * 2}, np.arange(count) * 3)
    return Dataset("made_up", split, split, 0, 0, "made up")


def test_a_fraction_is_set_aside_in_order_and_all_others_are_trained_on():
    found = set_aside(_dataset(), 0.2, seed=1)
    held_out, rest = found.validation.targets // 3, found.train.targets // 3
    assert len(held_out) == 20 and sorted([*held_out, *rest]) == list(range(100))
    assert list(held_out) == sorted(held_out) and list(rest) == sorted(rest)
    assert np.array_equal(found.validation.features["b"], held_out * 2)
    assert held_out.max() > 80 and held_out.min() < 20  # Taken from everywhere.
    assert np.array_equal(set_aside(_dataset(), 0.2, 1).validation.targets, held_out * 3)
    assert not np.array_equal(set_aside(_dataset(), 0.2, 2).validation.targets, held_out * 3)
    assert found.fingerprint != _dataset().fingerprint
    assert [*found.splits] == ["train", "validation", "test"]


def test_mapped_examples_are_set_aside_without_reading_them(tmp_path):
    array = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (100, 2))
    array[:] = np.arange(200).reshape(100, 2)
    mapped = take(array, np.arange(0, 100, 2))  # As the training split of a source is.
    dataset = dataclasses.replace(_dataset(50), train=Split(mapped, np.arange(50)))
    found = set_aside(dataset, 0.2, seed=1)
    for split in (found.train, found.validation):
        assert isinstance(split.features, Rows)
        assert np.array_equal(split.features[:3][:, 0], 4.0 * split.targets[:3])


def test_mapped_splits_are_joined_without_reading_them(tmp_path):
    whole = np.arange(60, dtype=np.float32).reshape(20, 3)
    np.save(tmp_path / "x.npy", whole)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    labels = np.arange(20)
    parts = [Rows(mapped, np.arange(4, 20, 2)), mapped[:4]]
    wanted = np.concatenate([np.asarray(part) for part in parts])
    one = joined([Split(part, labels[: len(part)]) for part in parts])
    assert is_mapped(one.features) and not is_mapped(one.targets) and len(one) == 12
    assert one.bytes_per_example == 12
    places = np.array([[11, 0], [7, 8]])
    assert np.array_equal(one.features[places], wanted[places])
    assert np.array_equal(np.asarray(one.features), wanted)
    expect_random_reads(one.features)


def test_a_fraction_that_leaves_nothing_to_train_on_is_refused():
    assert len(set_aside(_dataset(3), 0.01, 0).validation) == 1
    with pytest.raises(DataError, match="must leave some of the 3 training examples"):
        set_aside(_dataset(3), 0.9, 0)
    both = dataclasses.replace(_dataset(), validation=_dataset().test)
    with pytest.raises(DataError, match="must be 0 where `get_data` returns a validation source"):
        set_aside(both, 0.5, 0)


def _load(tmp_path, fraction: float, validation: str) -> Dataset:
    path = tmp_path / "mine.py"
    path.write_text(RECIPE.format(fraction=fraction, validation=validation))
    config = ExperimentConfig(recipe=str(path), data=DataConfig(validation_fraction=fraction))
    return recipe_data.load(config)


def test_a_recipe_may_bring_its_validation_split(tmp_path):
    found = _load(tmp_path, 0.0, "(np.ones(3), np.arange(3))")
    assert len(found.validation) == 3 and len(found.train) == 8
    with pytest.raises(
        DataError, match="must return features of one kind for train and validation"
    ):
        _load(tmp_path, 0.0, "(np.ones((3, 2)), np.arange(3))")
