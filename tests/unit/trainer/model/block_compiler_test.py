"""Does XLA compile the blocks that it computes faster, and each with draws of its own?"""

import numpy as np
import pytest
import tensorflow as tf

from strategies.runtime import Key
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.data import recipe_data
from trainer.model import user_model

pytestmark = pytest.mark.usefixtures("process_settings_restored")

_RECIPE = """
import keras
import numpy as np
import tensorflow as tf
from trainer.recipe import ExperimentConfig

layers = keras.layers
PIXELS = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype("float32")
WORDS = np.random.default_rng(0).integers(0, 9, (32, 5))
CLASSES = np.arange(32) % 3

class AsText(layers.Layer):
    def call(self, x):
        return x + tf.stop_gradient(tf.strings.to_number(tf.strings.as_string(x)))

def get_config():
    return ExperimentConfig()

def get_data(config):
    splits = {{"train": {data}, "test": {data}, "validation": {validation}}}
    return {{name: (data, CLASSES) for name, data in splits.items()}}

def get_model(config, data):
    return keras.Sequential([{layers}, layers.Flatten(), layers.Dense(3)])
"""
_DENSE = (
    "keras.Input((8, 8, 1)), layers.Flatten(), layers.BatchNormalization(), layers.Dropout(0.5)"
)
_WORDS = "keras.Input((5,), dtype='int32')"


@pytest.fixture
def built(tmp_path):
    """The model of a recipe with these layers, and the config's choice of how to compile it."""

    def build(layers, data="PIXELS", compiler="auto", validation=""):
        path = tmp_path / "own.py"
        path.write_text(_RECIPE.format(layers=layers, data=data, validation=validation or data))
        config = config_load.resolve(str(path), {"train.compiler": compiler})
        recipe, dataset = recipe_data.recipe_of(config), recipe_data.load(config)
        return user_model.build(recipe, config, dataset, block_size=4)

    return build


def _how(own):
    return own.architecture["compiled"]


@pytest.mark.parametrize(
    "layers, data, how",
    [
        (_DENSE, "PIXELS", "by XLA, block by block"),
        (
            "keras.Input((8, 8, 1)), layers.Conv2D(4, 2, strides=2)",
            "PIXELS",
            "by XLA, block by block",
        ),
        (
            "keras.Input((8, 8, 1)), layers.Conv2D(4, 3)",
            "PIXELS",
            "as a graph, as XLA computes conv",
        ),
        (
            "keras.Input((8, 8, 1)), layers.MaxPooling2D()",
            "PIXELS",
            "as a graph, as XLA computes pool",
        ),
        (f"{_WORDS}, layers.Embedding(9, 4), layers.GRU(4)", "WORDS", "by XLA, block by block"),
        (
            f"{_WORDS}, layers.Lambda(lambda x: x + 0), layers.Embedding(9, 4)",
            "WORDS",
            "as a graph, as XLA would not notice an index",
        ),
        ("keras.Input((8, 8, 1)), AsText()", "PIXELS", "as a graph, as XLA cannot compile it ("),
    ],
)
def test_the_operations_of_a_model_decide_how_it_is_compiled(built, layers, data, how):
    assert _how(built(layers, data)).startswith(how)


def test_the_config_may_decide(built):
    assert _how(built(_DENSE, compiler="graph")) == "as a graph, as the config says"
    convolution = "keras.Input((8, 8, 1)), layers.Conv2D(4, 3)"
    assert _how(built(convolution, compiler="xla")) == "by XLA, block by block"
    with pytest.raises(ConfigError, match="`train.compiler` must be auto or graph for this model"):
        built("keras.Input((8, 8, 1)), AsText()", compiler="xla")


def test_an_index_that_no_embedding_has_is_refused(built):
    with pytest.raises(ConfigError, match="indices from 0 to 6 .* Received: 0 to 8 for 'train'"):
        built(f"{_WORDS}, layers.Embedding(7, 4)", "np.where(np.arange(32)[:, None] < 4, 0, WORDS)")


def test_an_index_of_the_validation_split_is_checked_too(built):
    with pytest.raises(ConfigError, match="Received: 0 to 8 for 'validation'"):
        built(f"{_WORDS}, layers.Embedding(7, 4)", "np.minimum(WORDS, 6)", validation="WORDS")


def _terms(own, step, share):
    random = np.random.default_rng(1)
    pixels = random.normal(size=(4, 8, 8, 1)).astype(np.float32)
    weights, _, state = tf.nest.map_structure(tf.constant, own.program.initial_state().parts)
    batch = tf.constant(pixels), tf.constant([0, 1, 2, 0]), tf.ones(4)
    function = tf.function(own.program.gradients, autograph=False)
    terms, sums = function(weights, batch, state, Key(tf.constant(step), tf.constant(share)))
    return [term.numpy() for term in (*terms, sums)]


def test_each_block_of_each_step_draws_its_own_numbers(built):
    own = built(_DENSE)
    same, again, block, step = (
        _terms(own, *at)[0].tobytes() for at in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert same == again
    assert len({same, block, step}) == 3


def test_both_ways_compute_the_same_up_to_rounding(built):
    layers = (
        "keras.Input((8, 8, 1)), layers.Reshape((8, 8)), layers.GRU(5), layers.LayerNormalization()"
    )
    by_xla, as_graph = (_terms(built(layers, compiler=way), 0, 0) for way in ("xla", "graph"))
    for one, other in zip(by_xla, as_graph, strict=True):
        # Eight steps of sums of at most 15 terms, whose backward pass doubles their number.
        bound = 2 * 8 * 15 * np.finfo(np.float32).eps * max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=bound)


def test_what_traces_outside_of_the_block_draws_as_before(built):
    before = tf.random.stateless_uniform, tf.nn.experimental.stateless_dropout
    built(_DENSE)
    assert (tf.random.stateless_uniform, tf.nn.experimental.stateless_dropout) == before
