"""Does a batch in blocks get the statistics, the gradients and the averages of one whole batch?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies.runtime import Key
from trainer.config.fields import ConfigError
from trainer.config.schema import OptimizerConfig
from trainer.model import batch_statistics
from trainer.model.losses import REGRESSION
from trainer.model.optimizers import Optimizers, make_optimizer
from trainer.model.step import TrainingProgram

layers = keras.layers
_BATCH, _PADDING, _BLOCK, _SHAPE = 16, 5, 4, (6, 6, 2)
_UNIT = 2.0**-24


def _net() -> keras.Model:
    """Two branches, one layer that is called twice, and one of half precision."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(_SHAPE)
    shared = layers.BatchNormalization(momentum=0.7)
    one = layers.Conv2D(4, 3, activation="tanh")(shared(shared(inputs)))
    other = layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(inputs))
    half = layers.BatchNormalization(dtype="mixed_bfloat16")(layers.Add()([one, other]))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(half)))


def _masked() -> keras.Model:
    keras.utils.set_random_seed(3)
    words = keras.Input((6,))
    masked = layers.Masking(0.0)(layers.Reshape((6, 1))(words))
    normal = layers.BatchNormalization()(masked)
    return keras.Model(words, layers.Dense(2)(layers.GlobalAveragePooling1D()(normal)))


def _program(model: keras.Model, block_size: int) -> TrainingProgram:
    shares = batch_statistics.share(model) if block_size else False
    names = [variable.path for variable in model.trainable_variables]
    optimizers = Optimizers(
        model.trainable_variables, names, lambda: make_optimizer(OptimizerConfig("sgd"))
    )
    return TrainingProgram(
        model,
        REGRESSION,
        optimizers,
        block_size=block_size,
        uses_xla=False,
        trims_padding=True,
        shares_statistics=shares,
    )


def _batch(shape):
    random = np.random.default_rng(5)
    weights = np.ones(_BATCH, np.float32)
    weights[-_PADDING:] = 0  # One block has padding, and another has nothing else.
    features = random.normal(3, 2, (_BATCH, *shape)) * random.integers(0, 2, (_BATCH, *shape))
    targets = random.normal(size=(_BATCH, 2))
    return features.astype(np.float32), targets.astype(np.float32), weights


def _terms(model: keras.Model, block_size: int) -> list:
    program = _program(model, block_size)
    state = tf.nest.map_structure(tf.constant, program.initial_state().parts)
    step = tf.function(program.gradients, autograph=False)
    batch = tuple(map(tf.constant, _batch(model.inputs[0].shape[1:])))
    terms, sums = step(state[0], batch, state[2], Key(tf.constant(0), tf.constant(0)))
    return [term.numpy() for term in (*terms, sums)]


@pytest.mark.parametrize("net", [_net, _masked])
def test_gradients_and_averages_are_those_of_one_block(net):
    """The longest sums have 16 * 6 * 6 terms, and a gradient comes through a handful of them.

    A sum of n terms has errors of about n u of its largest magnitudes; where the terms cancel, as in a
    bias before a normalization, that is as large as other arrays are. bfloat16 rounds to 2**-8.
    """
    whole, blocks = _terms(net(), 0), _terms(net(), _BLOCK)
    again = _terms(net(), _BLOCK)
    largest = max(np.abs(array).max() for array in whole)
    bound = 5 * _BATCH * 36 * _UNIT if net is _masked else 2.0**-8
    for one, other, same in zip(whole, blocks, again, strict=True):
        scale = np.abs(one).max()
        scale = scale if scale > bound * largest else largest
        assert np.abs(one - other).max() <= bound * scale
        assert np.array_equal(other, same)


def test_a_model_without_batch_normalization_shares_nothing():
    assert not batch_statistics.share(keras.Sequential([keras.Input((3,)), layers.Dense(2)]))


class _Own(keras.layers.BatchNormalization):
    def _moments(self, inputs, mask):
        return super()._moments(inputs, mask)


def test_a_layer_with_statistics_of_its_own_is_refused():
    with pytest.raises(ConfigError, match="must be block for a layer with statistics of its own"):
        batch_statistics.share(keras.Sequential([keras.Input((3,)), _Own()]))


def test_a_layer_that_wants_all_replicas_statistics_is_refused_where_blocks_have_theirs():
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(synchronized=True)])
    with pytest.raises(ConfigError, match="must be global for a layer with synchronized=True"):
        batch_statistics.check_blocks(model)


class _Loop(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.normal = layers.BatchNormalization()

    def call(self, inputs):
        return tf.map_fn(lambda one: self.normal(one, training=True), inputs)


def test_a_layer_within_a_loop_is_refused():
    model = keras.Sequential([keras.Input((4, 3)), _Loop(), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ConfigError, match="calls BatchNormalization within a loop"):
        _terms(model, _BLOCK)
