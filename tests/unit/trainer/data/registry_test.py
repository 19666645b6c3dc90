"""Are the embedded and synthetic data sets as documented, and the same on every machine?"""

import subprocess
import sys

import numpy as np
import pytest

from tests.paths import ROOT
from trainer.config.schema import DataConfig
from trainer.data import registry
from trainer.data.dataset import DataError

_WITHOUT_NETWORK = [name for name in registry.LOADERS if name != "mnist"]


def _config(name, train_examples=0):
    return DataConfig(name=name, dir="", train_examples=train_examples, download_timeout_s=300)


def _load(name, train_examples=0):
    return registry.load(_config(name, train_examples))


@pytest.mark.parametrize("name", _WITHOUT_NETWORK)
def test_features_and_targets_have_the_documented_types_and_shapes(name):
    dataset = _load(name)
    for split in (dataset.train, dataset.test):
        assert len(split) == len(split.features) == len(split.targets) > 0
        assert split.features.dtype == (np.uint8 if name == "digits" else np.float32)
        if dataset.num_classes:
            assert split.targets.dtype == np.int32 and split.targets.ndim == 1
            assert set(split.targets) == set(range(dataset.num_classes))
        else:
            assert split.targets.dtype == np.float32
            assert split.targets.shape == (len(split), dataset.num_outputs)


@pytest.mark.parametrize(
    "name, fingerprint",
    [
        ("digits", "7e47c545a6abf727baad6ca4261531052a97625394b69ec8b9a1613b19c7ee4f"),
        ("dense_100", "5936d57ba6f11419c8f8d7aa474e04fd611834f1baefaf419bb20f0387e5ee04"),
        ("linear_100", "a894b88722f611d91b42ebbde0fae0f2bad56e5171a52ee4fee240e9705111aa"),
        ("relu_regression", "ddcb3dcafc23c8f2c94224afad4fc3ff0b2f01fe0e38272284dd5a3a88abbe39"),
    ],
)
def test_every_machine_has_the_same_examples_to_the_bit(name, fingerprint):
    assert _load(name).fingerprint == fingerprint


def test_no_digit_is_in_both_splits_and_none_is_lost():
    from sklearn.datasets import load_digits

    dataset, source = _load("digits"), load_digits()
    assert (len(dataset.train), len(dataset.test)) == (1497, 300)
    labels = np.concatenate([dataset.train.targets, dataset.test.targets])
    assert np.bincount(labels).tolist() == np.bincount(source.target).tolist()
    images = np.concatenate([dataset.train.features, dataset.test.features])
    centres = (2 * np.arange(8) + 1) * 28 // 16  # Of each enlarged pixel.
    small = images[:, centres][:, :, centres]
    expected = np.rint(source.images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, small)) == sorted(map(bytes, expected))


def test_the_digits_are_described_as_not_mnist_and_scaled_to_one():
    dataset = _load("digits")
    assert "not MNIST" in dataset.description
    assert dataset.train.features.max() * dataset.feature_scale == 1.0


def test_linear_targets_are_the_teachers_outputs_within_its_noise():
    dataset = _load("linear_100")
    for split in (dataset.train, dataset.test):
        noise = split.targets - (split.features @ dataset.truth["kernel"] + dataset.truth["bias"])
        assert abs(noise.std() - 0.01) < 0.0005 and abs(noise.mean()) < 0.0005


def test_least_squares_finds_the_teachers_weights():
    dataset = _load("linear_100")
    inputs = np.column_stack([dataset.train.features, np.ones(len(dataset.train))])
    weights = np.linalg.lstsq(inputs, dataset.train.targets, rcond=None)[0]
    assert np.abs(weights[:-1] - dataset.truth["kernel"]).max() < 0.001
    assert np.abs(weights[-1] - dataset.truth["bias"]).max() < 0.001


def test_relu_targets_are_the_teachers_outputs_without_noise():
    dataset = _load("relu_regression")
    features, truth = dataset.test.features.astype(np.float64), dataset.truth
    expected = np.maximum(features @ truth["kernel"] + truth["bias"], 0).astype(np.float32)
    assert np.array_equal(dataset.test.targets, expected)
    assert 0.3 < (dataset.test.targets == 0).mean() < 0.7


def test_dense_labels_are_the_teachers_classes_and_none_is_rare():
    dataset = _load("dense_100")
    weights = {name: value.astype(np.float64) for name, value in dataset.truth.items()}
    hidden = dataset.test.features @ weights["hidden_kernel"] + weights["hidden_bias"]
    logits = np.maximum(hidden, 0) @ weights["output_kernel"] + weights["output_bias"]
    assert np.array_equal(dataset.test.targets, logits.argmax(1))
    assert np.bincount(dataset.train.targets).min() > 0.05 * len(dataset.train)


@pytest.mark.parametrize("name", ["dense_100", "linear_100", "relu_regression"])
def test_synthetic_features_are_standard_normal_and_uncorrelated(name):
    features = _load(name).train.features
    assert abs(features.mean()) < 0.005 and abs(features.std() - 1) < 0.005
    correlations = np.corrcoef(features.T) - np.eye(100)
    assert np.abs(correlations).max() < 0.06  # Six deviations of 1 / sqrt(10,000).


def test_the_synthetic_sets_have_different_features():
    names = ("dense_100", "linear_100", "relu_regression")
    first, second, third = (_load(name).train.features for name in names)
    assert not np.array_equal(first, second) and not np.array_equal(second, third)


def test_train_examples_keeps_the_first_and_does_not_cut_the_test_split():
    whole, cut = _load("digits"), _load("digits", train_examples=100)
    assert np.array_equal(cut.train.features, whole.train.features[:100])
    assert np.array_equal(cut.train.targets, whole.train.targets[:100])
    assert len(cut.test) == 300 and cut.fingerprint != whole.fingerprint


@pytest.mark.parametrize("train_examples", [-1, 1498])
def test_more_training_examples_than_there_are_is_an_error(train_examples):
    with pytest.raises(DataError) as error:
        _load("digits", train_examples)
    assert str(error.value) == (
        f"`data.train_examples` must be 0 (all) to 1497 for digits. Received: {train_examples}."
    )


@pytest.mark.parametrize("function", [registry.load, registry.describe])
@pytest.mark.parametrize("name, ending", [("minst", "; did you mean mnist?"), ("xyzzy", ".")])
def test_an_unknown_name_is_an_error_that_suggests_the_most_similar(function, name, ending):
    with pytest.raises(DataError) as error:
        function(_config(name))
    assert str(error.value) == (
        "`data.name` must be one of digits, mnist, dense_100, linear_100, relu_regression. "
        f"Received: {name}{ending}"
    )
    assert error.value.exit_code == 2


@pytest.mark.parametrize("name", _WITHOUT_NETWORK)
def test_describe_says_in_one_line_that_no_network_is_needed(name):
    sentence = registry.describe(_config(name))
    assert sentence.endswith("no network needed") and "\n" not in sentence


def test_describing_and_loading_import_no_tensorflow():
    code = (
        "import sys; from trainer.config.schema import DataConfig; from trainer.data import registry\n"
        "for name in ('digits', 'dense_100'):\n"
        "    config = DataConfig(name=name, dir='', train_examples=0)\n"
        "    registry.describe(config), registry.load(config)\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"
