"""Is each example's gradient clipped to the norm that was asked for, and hidden by the noise?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies.runtime import Key
from trainer.config.fields import ConfigError
from trainer.config.schema import OptimizerConfig
from trainer.model import example_norms, private_gradients
from trainer.model.losses import REGRESSION
from trainer.model.optimizers import Optimizers, make_optimizer
from trainer.model.private_gradients import PrivateGradients
from trainer.model.step import TrainingProgram

layers = keras.layers
_BATCH, _PADDING, _CLIP = 8, 2, 0.3
_UNIT = 2.0**-24


def _image_net():
    inputs = keras.Input((9, 8, 2))
    found = layers.Conv2D(3, (3, 2), strides=2, padding="same", activation="tanh")(inputs)
    found = layers.Conv2D(4, 2, dilation_rate=2, use_bias=False)(found)
    return inputs, layers.Dense(2)(layers.Dropout(0.3, seed=4)(layers.Flatten()(found)))


def _word_net():
    inputs = keras.Input((6,), dtype="int32")
    found = layers.Dense(5, activation="relu")(layers.Embedding(7, 4)(inputs))  # A sequence.
    return inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(found))


def _recurrent_net():
    inputs = keras.Input((5, 3))
    return inputs, layers.Dense(2)(layers.LayerNormalization()(layers.GRU(4)(inputs)))


def _shared_net():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, activation="tanh")
    return inputs, layers.Dense(2)(shared(shared(inputs)))


NETS = {
    net.__name__.strip("_"): net for net in (_image_net, _word_net, _recurrent_net, _shared_net)
}
WITH_NORMS = ("image_net", "word_net")


def _model(name):
    keras.utils.set_random_seed(3)
    return keras.Model(*NETS[name]())


def _program(model, private=None, block_size=0):
    names = [variable.path for variable in model.trainable_variables]
    optimizers = Optimizers(
        model.trainable_variables, names, lambda: make_optimizer(OptimizerConfig("sgd"))
    )
    return TrainingProgram(
        model, REGRESSION, optimizers, None, block_size=block_size, private=private
    )


def _private(noise=0.0, clip=_CLIP):
    return PrivateGradients(clip, noise, _BATCH, seed=1)


def _batch(model, seed=5):
    random = np.random.default_rng(seed)
    shape = (_BATCH, *model.inputs[0].shape[1:])
    is_float = model.inputs[0].dtype == "float32"
    features = random.normal(size=shape) if is_float else random.integers(0, 7, shape)
    weights = np.ones(_BATCH, np.float32)
    weights[-_PADDING:] = 0
    targets = random.normal(size=(_BATCH, 2)).astype(np.float32)
    return features.astype(model.inputs[0].dtype), targets, weights


def _gradients(program, batch, key=Key(0, 0)):  # noqa: B008, a constant.
    state = program.initial_state()
    weights = [tf.constant(weight) for weight in state.weights]
    layer_state = [tf.constant(one) for one in state.layer_state]
    run = tf.function(program.gradients, autograph=False)
    terms, sums = run(weights, batch, layer_state, Key(*map(tf.constant, key)))
    return [term.numpy().astype(np.float64) for term in terms], sums.numpy()


def _norm(gradients):
    return np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))


@pytest.mark.parametrize("name", WITH_NORMS)
def test_norms_are_those_of_each_examples_own_gradient(name):
    model = _model(name)
    assert example_norms.covers(model)
    features, targets, _ = _batch(model)
    with tf.GradientTape(persistent=True) as tape, example_norms.watched(model) as calls:
        losses = tf.reduce_sum((model(features) - targets) ** 2, 1)
    outgoing = tape.gradient(losses, [call.output for call in calls])
    own = tape.jacobian(losses, [variable.value for variable in model.trainable_variables])
    expected = sum(np.sum(np.square(one), axis=tuple(range(1, one.ndim))) for one in own)
    # Both are float32 sums of at most a few hundred squares of one size.
    bound = 1000 * _UNIT
    np.testing.assert_allclose(example_norms.squared_norms(calls, outgoing), expected, rtol=bound)


@pytest.mark.parametrize("name", NETS)
def test_a_sum_of_gradients_is_that_of_the_clipped_ones_of_single_examples(name):
    model = _model(name)
    features, targets, weights = _batch(model)
    if name == "image_net":  # Its dropout draws for a block as a whole.
        model.get_layer(index=4).rate = 0.0
    plain, clipped = _program(model), []
    for i in range(_BATCH - _PADDING):
        own, _ = _gradients(plain, (features[i : i + 1], targets[i : i + 1], weights[i : i + 1]))
        factor = min(1.0, _CLIP / _norm(own))
        clipped.append([factor * gradient for gradient in own])
    expected = [sum(one) for one in zip(*clipped, strict=True)]
    found, sums = _gradients(_program(model, _private()), (features, targets, weights))
    whole, plain_sums = _gradients(plain, (features, targets, weights))
    np.testing.assert_array_equal(sums, plain_sums)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1000 * _UNIT * _CLIP)
    assert _norm(whole) > 1.5 * _norm(found)  # Something was clipped.


@pytest.mark.parametrize("name", NETS)
def test_one_example_changes_a_sum_by_no_more_than_twice_the_clip_norm(name):
    model = _model(name)
    program = _program(model, _private(noise=1.0))
    features, targets, weights = _batch(model)
    before, _ = _gradients(program, (features, targets, weights))
    features, targets = features.copy(), targets.copy()
    features[2], targets[2] = _batch(model, seed=9)[0][2], 1e6
    after, _ = _gradients(program, (features, targets, weights))
    change = _norm([mine - theirs for mine, theirs in zip(after, before, strict=True)])
    assert 0.5 * _CLIP < change <= 2 * _CLIP * (1 + 1000 * _UNIT)


def test_the_noise_is_normal_and_another_in_each_step_and_belongs_to_the_first_block():
    model, noise = _model("image_net"), 0.7
    batch = _batch(model)
    in_blocks = (_BATCH // 2,)
    quiet, loud = (
        _program(model, _private(), *in_blocks),
        _program(model, _private(noise), *in_blocks),
    )
    clean, _ = _gradients(quiet, batch)
    found = {}
    for step in range(2):
        noisy, _ = _gradients(loud, batch, Key(step, 0))
        drawn = [mine - theirs for mine, theirs in zip(noisy, clean, strict=True)]
        found[step] = np.concatenate([one.ravel() for one in drawn])
    for values in found.values():
        count = len(values)  # Standard errors of the mean and of the standard deviation.
        assert abs(values.mean()) < 4 * noise * _CLIP / np.sqrt(count)
        assert abs(values.std() / (noise * _CLIP) - 1) < 4 / np.sqrt(2 * count)
    assert abs(np.corrcoef(*found.values())[0, 1]) < 4 / np.sqrt(count)
    of_second_half, _ = _gradients(loud, batch, Key(0, 1))
    expected, _ = _gradients(quiet, batch, Key(0, 1))
    for mine, theirs in zip(of_second_half, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "layer, reason",
    [
        (layers.BatchNormalization(), "statistics of examples"),
        (layers.ActivityRegularization(l2=0.1), "adds a loss of its own"),
        (layers.Lambda(lambda x: x - keras.ops.mean(x, 0)), "depends on the others"),
        (layers.Dense(3, dtype="mixed_float16"), "float16"),
    ],
)
def test_a_layer_that_mixes_examples_is_refused(layer, reason):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(2, kernel_regularizer="l2")(layer(inputs)))
    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    with pytest.raises(ConfigError, match=f"`privacy.clip_norm` must be 0 .*{reason}"):
        private_gradients.check(model, features)


@pytest.mark.parametrize("name", NETS)
def test_other_nets_are_not_refused(name):
    model = _model(name)
    private_gradients.check(model, _batch(model)[0])


def test_a_penalty_on_weights_is_not_clipped():
    inputs = keras.Input((3,))
    output = layers.Dense(2, kernel_regularizer=keras.regularizers.L2(10.0))
    model = keras.Model(inputs, output(inputs))
    batch = _batch(model)
    penalized, _ = _gradients(_program(model, _private()), batch)
    output.kernel.regularizer = None
    found, _ = _gradients(_program(model, _private()), batch)
    penalty = (_BATCH - _PADDING) * 2 * 10.0 * output.kernel.numpy()
    np.testing.assert_allclose(penalized[0] - found[0], penalty, rtol=100 * _UNIT)
