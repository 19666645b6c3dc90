"""Does one step compute what Keras computes, on any number of replicas?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config.schema import ExperimentConfig, ModelConfig, OptimizerConfig
from trainer.data.dataset import Dataset, Split
from trainer.model.optimizers import make_optimizer
from trainer.training import programs

_UNIT = 2.0**-24  # The largest relative error of one float32 operation.

_OPTIMIZERS = {
    "sgd": OptimizerConfig("sgd", learning_rate=0.1),
    "sgd with momentum": OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9),
    "adam": OptimizerConfig("adam", learning_rate=0.01),
    "adamw": OptimizerConfig("adamw", learning_rate=0.01, weight_decay=0.1),
    "rmsprop": OptimizerConfig("rmsprop", learning_rate=0.01),
    "rmsprop with momentum": OptimizerConfig("rmsprop", learning_rate=0.01, momentum=0.9),
    "adagrad": OptimizerConfig("adagrad", learning_rate=0.1),
}


def _keras(config):
    """Keras's own optimizer with these settings, made as its documentation does."""
    rate, momentum = config.learning_rate, config.momentum
    return {
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=momentum),
        "adam": lambda: keras.optimizers.Adam(rate),
        "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=config.weight_decay),
        "rmsprop": lambda: keras.optimizers.RMSprop(rate, momentum=momentum),
        "adagrad": lambda: keras.optimizers.Adagrad(rate),
    }[config.name]()


def _dataset(features, targets, num_classes, num_outputs):
    split = Split(features, targets)
    return Dataset("made up", split, split, num_classes, num_outputs, "made up")


def _classification(optimizer=None, batch=32, num_features=20):
    """A program with a hidden layer, and one batch for it."""
    random = np.random.default_rng(1)
    features = random.normal(size=(batch, num_features)).astype(np.float32)
    targets = random.integers(0, 5, batch).astype(np.int32)
    config = ExperimentConfig(
        model=ModelConfig(hidden_units=(16,)), optimizer=optimizer or OptimizerConfig()
    )
    program = programs.training_program(config, _dataset(features, targets, 5, 5))
    return program, (features, targets, np.ones(batch, np.float32))


def _tensors(arrays):
    return [tf.constant(array) for array in arrays]


def _rows(batch, rows):
    return tuple(array[rows] for array in batch)


def _added(program, weights, batches):
    """The gradients of each batch and their sums, added as an all-reduce would."""
    parts = [program.gradients(weights, batch) for batch in batches]
    gradients = [sum(one) for one in zip(*(gradients for gradients, _ in parts), strict=True)]
    return gradients, sum(sums for _, sums in parts)


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_twenty_updates_give_the_weights_that_keras_gives_on_real_variables(name):
    config = _OPTIMIZERS[name]
    program, _ = _classification(config)
    weights = program.initial_weights()
    slots = program.initial_slots(weights)
    random = np.random.default_rng(2)
    steps = [[random.normal(size=w.shape).astype(np.float32) for w in weights] for _ in range(20)]

    variables = [keras.Variable(weight) for weight in weights]
    optimizer = _keras(config)
    optimizer.build(variables)
    update = tf.function(program.update, jit_compile=True, autograph=False)
    for gradients in steps:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        weights, slots = update(_tensors(weights), _nested(slots), _tensors(gradients))

    # Both do the same operations, in two orders. An update has fewer than 20 of them, each wrong by
    # at most one unit of what it adds to the weight, and 20 updates add their errors up.
    for mine, variable in zip(weights, variables, strict=True):
        theirs = variable.numpy()
        assert np.abs(mine.numpy() - theirs).max() <= 20 * 20 * _UNIT * np.abs(theirs).max()


def _nested(slots):
    return [_tensors(own) for own in slots]


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_the_slots_count_the_updates_and_keep_their_names(name):
    program, _ = _classification(_OPTIMIZERS[name])
    weights = program.initial_weights()
    slots = program.initial_slots(weights)
    _, slots = program.update(_tensors(weights), _nested(slots), _tensors(weights))
    for index, own in enumerate(slots):
        names = program.slot_names(index)
        assert names[:2] == ["iteration", "learning_rate"]
        assert int(own[0]) == 1
        assert len(set(names)) == len(names) == len(own)


def test_an_update_does_not_change_the_tensors_it_is_given():
    program, _ = _classification(OptimizerConfig("adam"))
    weights = _tensors(program.initial_weights())
    before = [weight.numpy().copy() for weight in weights]
    new, _ = program.update(weights, _nested(program.initial_slots(before)), weights)
    assert all(np.array_equal(old, weight) for old, weight in zip(before, weights, strict=True))
    assert not np.array_equal(new[0], before[0])


def test_the_gradients_of_two_halves_add_to_that_of_the_whole_bit_for_bit_where_sums_are_exact():
    # Small integers and four outputs: every product, sum and mean is a float32 without rounding.
    random = np.random.default_rng(3)
    features = random.integers(-8, 9, (32, 10)).astype(np.float32)
    targets = random.integers(-8, 9, (32, 4)).astype(np.float32)
    config = ExperimentConfig(model=ModelConfig(hidden_units=()))
    program = programs.training_program(config, _dataset(features, targets, 0, 4))
    weights = [random.integers(-3, 4, shape).astype(np.float32) for shape in ((10, 4), (4,))]
    batch = features, targets, np.ones(32, np.float32)

    whole, sums = program.gradients(_tensors(weights), batch)
    halves = [_rows(batch, slice(0, 16)), _rows(batch, slice(16, 32))]
    added, added_sums = _added(program, _tensors(weights), halves)

    residuals = features @ weights[0] + weights[1] - targets
    assert np.array_equal(whole[0], features.T @ (2 * residuals / 4))
    assert np.array_equal(whole[1], (2 * residuals / 4).sum(0))
    assert all(np.array_equal(one, both) for one, both in zip(whole, added, strict=True))
    assert sums.numpy().tolist() == added_sums.numpy().tolist()
    assert sums.numpy().tolist() == [
        (residuals**2).sum() / 4, np.abs(residuals).sum() / 4, 32
    ]  # fmt: skip


@pytest.mark.parametrize("num_replicas", [2, 4, 8])
def test_the_gradients_of_slices_add_to_that_of_the_whole_batch(num_replicas):
    program, batch = _classification()
    weights = _tensors(program.initial_weights())
    width = 32 // num_replicas
    slices = [_rows(batch, slice(i * width, (i + 1) * width)) for i in range(num_replicas)]
    whole, sums = program.gradients(weights, batch)
    added, added_sums = _added(program, weights, slices)

    # The worst that reordering 32 terms can do is one unit for each term in either sum. The terms
    # themselves come out of dot products of up to 20 and 16 numbers, taken in another order too.
    singles = [program.gradients(weights, _rows(batch, slice(i, i + 1)))[0] for i in range(32)]
    operations = 32 + 20 + 16
    for one, both, terms in zip(whole, added, zip(*singles, strict=True), strict=True):
        size = sum(np.abs(term.numpy().astype(np.float64)) for term in terms)
        bound = 2 * operations * _UNIT * size.max()
        assert np.abs(one.numpy() - both.numpy()).max() <= bound
    assert np.allclose(sums, added_sums, rtol=2 * operations * _UNIT, atol=0)
    assert added_sums[1] == sums[1] and added_sums[2] == 32


def test_an_example_of_weight_zero_changes_nothing():
    program, batch = _classification()
    weights = _tensors(program.initial_weights())
    without, sums = program.gradients(weights, _rows(batch, slice(0, 20)))
    padded = *batch[:2], np.array([1] * 20 + [0] * 12, np.float32)
    gradients, padded_sums = program.gradients(weights, padded)
    assert padded_sums[2] == 20 and padded_sums[1] == sums[1]
    assert np.allclose(padded_sums, sums, rtol=100 * _UNIT, atol=0)
    for one, other in zip(gradients, without, strict=True):
        assert np.abs(one - other).max() <= 100 * _UNIT * 20 * np.abs(other).max()


def test_gradients_are_those_of_the_loss_by_finite_differences():
    program, batch = _classification()
    weights = program.initial_weights()
    gradients, _ = program.gradients(_tensors(weights), batch)
    random = np.random.default_rng(4)
    direction = [random.normal(size=weight.shape).astype(np.float32) for weight in weights]

    def loss(step):
        moved = [w + np.float32(step) * d for w, d in zip(weights, direction, strict=True)]
        return float(program.sums(_tensors(moved), batch)[0])

    slope = (loss(1e-3) - loss(-1e-3)) / 2e-3
    pairs = zip(gradients, direction, strict=True)
    # A loss near 60 is rounded to 4e-6, so the slope to 4e-3; the curvature's error is as small.
    assert slope == pytest.approx(sum(float((g * d).numpy().sum()) for g, d in pairs), abs=0.05)


@pytest.mark.parametrize("clipnorm", [0.01, 0.3])
def test_clipping_after_the_reduction_gives_the_result_of_one_batch(clipnorm):
    program, batch = _classification(OptimizerConfig("sgd", global_clipnorm=clipnorm))
    weights = _tensors(program.initial_weights())
    whole, sums = program.gradients(weights, batch)
    halves = [_rows(batch, slice(0, 16)), _rows(batch, slice(16, 32))]
    added, added_sums = _added(program, weights, halves)
    one = program.mean(whole, sums[2])
    two = program.mean(added, added_sums[2])

    raw = [gradient.numpy() / 32 for gradient in whole]
    norm = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in raw))
    assert norm > clipnorm
    for clipped, again, gradient in zip(one, two, raw, strict=True):
        assert np.allclose(clipped, gradient * clipnorm / norm, rtol=1e-5, atol=1e-9)
        # As for the gradients above; the norm adds the error of its 421 squares.
        assert np.abs(clipped - again).max() <= 2 * (68 + 421) * _UNIT * clipnorm


@pytest.mark.parametrize("clipnorm", [0.0, 1e6])
def test_a_gradient_below_the_norm_or_without_one_is_the_plain_mean(clipnorm):
    program, batch = _classification(OptimizerConfig("sgd", global_clipnorm=clipnorm))
    gradients, sums = program.gradients(_tensors(program.initial_weights()), batch)
    means = program.mean(gradients, sums[2])
    assert all(np.array_equal(m, g / 32) for m, g in zip(means, gradients, strict=True))


def test_the_mean_over_no_examples_is_zero_and_not_nan():
    program, batch = _classification()
    empty = *batch[:2], np.zeros(32, np.float32)
    gradients, sums = program.gradients(_tensors(program.initial_weights()), empty)
    assert sums.numpy().tolist() == [0, 0, 0]
    assert all(not np.any(gradient) for gradient in program.mean(gradients, sums[2]))


def test_features_are_scaled_once_they_are_floats():
    images = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28)
    labels = np.array([1, 2, 3, 4], np.int32)
    split = Split(images, labels)
    dataset = Dataset("images", split, split, 10, 10, "made up", feature_scale=1 / 255)
    program = programs.training_program(ExperimentConfig(), dataset)
    weights = program.initial_weights()
    sums = program.sums(_tensors(weights), (images, labels, np.ones(4, np.float32)))

    hidden = np.maximum(images.reshape(4, 784) / 255 @ weights[0] + weights[1], 0)
    logits = hidden @ weights[2] + weights[3]
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(4), labels]
    assert sums.numpy() == pytest.approx([losses.sum(), (logits.argmax(1) == labels).sum(), 4])


def test_the_weights_are_named_by_layer_kernel_before_bias():
    program, _ = _classification()
    assert program.weight_names == ["hidden_1/kernel", "hidden_1/bias", "output/kernel"] + [
        "output/bias"
    ]
    assert program.means(np.array([3.0, 1, 2])) == {"loss": 1.5, "accuracy": 0.5}


def test_an_optimizer_takes_the_settings_of_its_config():
    optimizer = make_optimizer(OptimizerConfig("sgd", learning_rate=0.25, momentum=0.5))
    assert float(optimizer.learning_rate) == 0.25 and optimizer.momentum == 0.5
    assert make_optimizer(OptimizerConfig("adamw", weight_decay=0.5)).weight_decay == 0.5
