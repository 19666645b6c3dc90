"""Are weighted losses and focal losses Keras's, and the metrics beside them unweighted?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import recipes, rules
from trainer.config.load import override
from trainer.config.schema import ExperimentConfig, ModelConfig, TrainConfig
from trainer.data.dataset import Dataset, Split
from trainer.model import losses
from trainer.training import programs

EXAMPLES = 16
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(EXAMPLES, 5)).astype(np.float32)
LABELS = RNG.integers(0, 3, EXAMPLES).astype(np.int32)
WEIGHTS = RNG.uniform(0.1, 5, EXAMPLES).astype(np.float32)
OWN = """
import keras
from trainer.recipe import ExperimentConfig
def get_config(): return ExperimentConfig()
def get_model(config, data):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
    return model
def get_loss(config): return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
def get_metrics(config): return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
"""


def _program(tmp_path, is_own, block_size):
    split = Split(FEATURES, LABELS, WEIGHTS)
    dataset = Dataset("made_up", split, split, 0 if is_own else 3, 0 if is_own else 3, "made up")
    config = ExperimentConfig(model=ModelConfig(hidden_units=(8,)), train=TrainConfig(steps=3))
    if is_own:
        (tmp_path / "own.py").write_text(OWN)
        recipes.load(tmp_path / "own.py")
        config = override(ExperimentConfig(), {"recipe": str(tmp_path / "own.py")})
    rules.validate(config)
    return programs.training_program(config, dataset, block_size)


@pytest.mark.usefixtures("process_settings_restored")
@pytest.mark.parametrize("is_own, block_size", [(False, 0), (False, 4), (True, 4)])
def test_the_loss_and_the_gradient_are_keras_s_with_sample_weight(tmp_path, is_own, block_size):
    program = _program(tmp_path, is_own, block_size)
    state = program.initial_state()
    weights = [tf.constant(one) for one in state.weights]
    batch = tf.constant(FEATURES), tf.constant(LABELS), tf.constant(WEIGHTS)
    terms, sums = program.gradients(weights, batch, [tf.constant(s) for s in state.layer_state])
    means = program.means(sums.numpy())

    model = keras.models.clone_model(program.model)
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss, metrics=["accuracy"])
    expected = model.train_on_batch(FEATURES, LABELS, sample_weight=WEIGHTS, return_dict=True)
    # float32's rounding, of some 100 terms in another order.
    assert means["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert means["accuracy"] == pytest.approx(expected["accuracy"], rel=1e-6)
    assert sums.numpy()[-1] == EXAMPLES  # Examples, not their weights.
    found = program.mean(terms, sums[-1])
    for before, after, gradient in zip(weights, model.trainable_variables, found, strict=False):
        assert np.allclose(before - gradient, after, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_focal_loss_is_keras_s(gamma, smoothing):
    logits = RNG.normal(size=(EXAMPLES, 3), scale=3).astype(np.float32)
    logits[0] = [60.0, 0.0, 0.0]  # A probability of 1.
    labels = np.where(np.arange(EXAMPLES), LABELS, 0).astype(np.int32)
    theirs = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=gamma, from_logits=True, label_smoothing=smoothing, reduction=None
    )
    ours = losses.classification(smoothing, gamma)
    with tf.GradientTape() as tape:
        values = tf.constant(logits)
        tape.watch(values)
        found, accuracy = ours.per_example(tf.constant(labels), values)
    expected = theirs(tf.one_hot(labels, 3), logits).numpy()
    # Keras computes powers of 1 - p where p is rounded, and p up to 1 - 1e-7.
    inner = slice(1, None) if smoothing else slice(None)
    assert np.allclose(found[inner], expected[inner], rtol=1e-4, atol=1e-6)
    assert np.isfinite(tape.gradient(found, values)).all()
    assert np.array_equal(accuracy, logits.argmax(axis=1) == labels)


def test_padding_is_no_example_however_small_the_weights():
    logits, labels = np.zeros((4, 3), np.float32), np.zeros(4, np.int32)
    weights = tf.constant([2.0, 2.0**-126, 0.0, 0.0])
    sums = losses.CLASSIFICATION.sums(tf.constant(labels), tf.constant(logits), [], weights)
    assert sums[2] == 2 and sums[1] == 2
    assert float(sums[0]) == pytest.approx(2 * np.log(3), rel=1e-6)
