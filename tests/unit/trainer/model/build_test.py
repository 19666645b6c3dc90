"""Is the model the one that the config describes, with the same weights in every process?"""

import subprocess
import sys

import numpy as np
import pytest

from tests.paths import ROOT
from trainer.config.schema import ModelConfig
from trainer.model import build as models


def _weights(config=ModelConfig(), feature_shape=(28, 28), num_outputs=10, seed=0):  # noqa: B008
    model = models.build(config, feature_shape, num_outputs, seed)
    return [variable.numpy() for variable in model.trainable_variables]


def _all_equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_documents_net_is_784_128_10():
    assert [weight.shape for weight in _weights()] == [(784, 128), (128,), (128, 10), (10,)]
    assert sum(weight.size for weight in _weights()) == 101_770


def test_without_hidden_units_a_model_is_one_matrix_and_one_bias():
    shapes = [weight.shape for weight in _weights(ModelConfig(hidden_units=()), (100,))]
    assert shapes == [(100, 10), (10,)]


def test_equal_seeds_give_equal_weights_and_different_seeds_different_ones():
    assert _all_equal(_weights(seed=7), _weights(seed=7))
    assert not np.array_equal(_weights(seed=7)[0], _weights(seed=8)[0])


def test_another_process_builds_the_same_weights():
    code = (
        "import hashlib; from trainer.config.schema import ModelConfig; from trainer.model import build\n"
        "model = build.build(ModelConfig(), (28, 28), 10, 3)\n"
        "print(hashlib.sha256(model.trainable_variables[0].numpy().tobytes()).hexdigest())"
    )
    run = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                       timeout=120, check=True).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert run[0] == run[1] and len(run[0]) == 65


def test_two_layers_of_one_shape_start_with_different_weights():
    weights = _weights(ModelConfig(hidden_units=(16, 16, 16)), (16,), 16)
    kernels = [weight for weight in weights if weight.ndim == 2]
    assert len({kernel.tobytes() for kernel in kernels}) == 4


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_the_smallest_and_the_largest_seed_give_glorots_range_and_zero_biases(seed):
    kernel, bias = _weights(ModelConfig(hidden_units=()), (100,), 10, seed)
    limit = np.sqrt(6 / 110)
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not bias.any()


def test_a_classifier_ends_in_logits_and_not_in_a_softmax():
    model = models.build(ModelConfig(), (28, 28), 10, 0)
    outputs = model(np.full((2, 28, 28), 50, np.float32)).numpy()
    assert outputs.shape == (2, 10)
    assert outputs.min() < 0 and abs(outputs.sum(1) - 1).min() > 0.1


def test_the_activations_are_those_of_the_config():
    config = ModelConfig(hidden_units=(3,), activation="tanh", output_activation="relu")
    model = models.build(config, (4,), 2, 0)
    features = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    kernel, bias, out_kernel, out_bias = (v.numpy() for v in model.trainable_variables)
    expected = np.maximum(np.tanh(features @ kernel + bias) @ out_kernel + out_bias, 0)
    assert model(features).numpy() == pytest.approx(expected, abs=1e-6)


def test_layers_are_named_by_their_position():
    model = models.build(ModelConfig(hidden_units=(5, 4)), (28, 28), 10, 0)
    paths = [variable.path for variable in model.trainable_variables]
    assert [path.rpartition("/")[0] for path in paths[::2]] == [
        "dense/hidden_1", "dense/hidden_2", "dense/output"
    ]  # fmt: skip
