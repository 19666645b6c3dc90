"""Does an embedding that is cut by rows compute what it computes uncut, and each part its own rows?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unit.trainer.model import parts
from trainer.config.fields import ConfigError
from trainer.config.schema import ModelConfig
from trainer.model import sharding

layers = keras.layers
_ROWS, _WORDS, _LENGTH = 12, 24, 7


def _model() -> keras.Model:
    """One embedding is called three times, and one has a mask."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    words = keras.Input((_LENGTH,), dtype="int32")
    shared = layers.Embedding(_WORDS, 5, name="shared")
    masked = layers.GRU(6)(layers.Embedding(_WORDS, 4, mask_zero=True, name="masked")(words))
    found = [shared(one) for one in (words, words[:, 1:], words[:, ::-1])]
    pooled = [layers.GlobalAveragePooling1D()(one) for one in found]
    return keras.Model(words, layers.Dense(5)(layers.Concatenate()([masked, *pooled])))


def _program(blocks: int, place=None):
    config = ModelConfig(blocks=blocks)
    return parts.program(_model, config, _ROWS // 2, place=place)


def _batch() -> tuple:
    random = np.random.default_rng(0)
    words = random.integers(0, _WORDS, (_ROWS, _LENGTH)).astype(np.int32)
    words[:, 5:] = 0  # Several times in a row, which the mask leaves out.
    return words, random.integers(0, 5, _ROWS).astype(np.int32), np.ones(_ROWS, np.float32)


@pytest.mark.parametrize(("blocks", "number"), [(4, 2), (4, 4), (6, 2)])
def test_parts_together_have_the_bits_of_one_process(blocks, number):
    parts.assert_same_bits(lambda place: _program(blocks, place), _batch(), number)


def test_a_cut_embedding_has_the_bits_of_an_uncut_one():
    cut, uncut = _program(4), _program(0)
    assert [*cut.blocks.kinds.values()] == ["rows", "rows"]
    for one, other in zip(
        *(parts.terms(program, program.initial_state(), _batch()) for program in (cut, uncut)),
        strict=True,
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def _looked_up(indices, values, dtype="float32"):
    layer = layers.Embedding(8, 2, dtype=dtype, name="words")
    inputs = keras.Input((None,), dtype=indices.dtype.name)
    model = keras.Model(inputs, layers.Dense(2)(layer(inputs)))
    blocks = sharding.cut(model, ModelConfig(blocks=4))
    layer._embeddings.assign(values)
    with blocks.holding([layer._embeddings], [tf.constant(values)]):
        return layer(tf.constant(indices)).numpy(), layer(indices)


def test_zeros_have_one_sign_however_many_blocks_are_added():
    values = np.array([[-0.0, -1.5]] * 8, np.float32)
    found, _ = _looked_up(np.array([[0, 7]], np.int32), values)
    assert not np.signbit(found[..., 0]).any() and (found[..., 1] == -1.5).all()


def test_numbers_that_are_not_finite_stay_in_their_row():
    values = np.arange(16, dtype=np.float32).reshape(8, 2)
    values[0], values[5] = np.inf, np.nan
    found, _ = _looked_up(np.array([[0, 1, 5, 4]], np.int32), values)
    np.testing.assert_array_equal(found[0], values[[0, 1, 5, 4]])


def test_floats_and_negative_indices_are_read_as_keras_reads_them():
    values = np.arange(16, dtype=np.float32).reshape(8, 2)
    found, _ = _looked_up(np.array([[3.0, 6.0]], np.float32), values)
    np.testing.assert_array_equal(found[0], values[[3, 6]])
    found, _ = _looked_up(np.array([[-1, -8]], np.int64), values)
    np.testing.assert_array_equal(found[0], values[[7, 0]])


@pytest.mark.parametrize("index", [8, -9])
def test_an_index_that_is_no_row_is_an_error(index):
    with pytest.raises(tf.errors.InvalidArgumentError, match="none of the rows 0 to 7 of words"):
        _looked_up(np.array([[0, index]], np.int32), np.zeros((8, 2), np.float32))


def test_weights_of_which_rows_are_cut_may_be_read_by_their_layer_only():
    words = keras.Input((3,), dtype="int32")
    embedding = layers.Embedding(8, 4, name="words")
    pooled = layers.GlobalAveragePooling1D()(embedding(words))

    class Tied(keras.layers.Layer):
        def call(self, x):
            return x @ tf.transpose(embedding.embeddings)

    def make():
        return keras.Model(words, Tied()(pooled))

    program = parts.program(make, ModelConfig(blocks=2), 0)
    batch = np.zeros((2, 3), np.int32), np.zeros(2, np.int32), np.ones(2, np.float32)
    with pytest.raises(ConfigError, match="`model.sharding` must leave out a layer whose weights"):
        parts.terms(program, program.initial_state(), batch)
