"""Does attention that is cut by heads compute what it computes uncut, and each part its own heads?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unit.trainer.model import parts
from trainer.config.fields import ConfigError
from trainer.config.schema import ModelConfig
from trainer.model import sharding

layers = keras.layers
_ROWS, _LENGTH, _WIDTH = 6, 5, 8


def _attended(settings: dict, call: dict, masks: bool, calls: int):
    """A model in which attention reads one sequence, or two, and what it reads has a gradient."""

    def make() -> keras.Model:
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        numbers = keras.Input((_LENGTH, _WIDTH))
        read = layers.Masking()(numbers) if masks else numbers
        x = layers.Dense(_WIDTH, name="before")(read)
        other = layers.Dense(6, name="other")(numbers)
        attention = layers.MultiHeadAttention(4, 3, name="attention", **settings)
        sources = {"itself": (x, x), "two": (x, other), "three": (x, other, layers.ReLU()(other))}
        source = sources[call.get("of", "itself")]
        more = {name: value for name, value in call.items() if name != "of"}
        for _ in range(calls):
            x = layers.Add()([x, attention(x if calls > 1 else source[0], *source[1:], **more)])
        return keras.Model(numbers, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))

    return make


_CASES: dict[str, tuple[dict, dict, bool, int]] = {
    "plain": ({}, {}, False, 1),
    "dropout": ({"dropout": 0.3}, {}, False, 1),
    "causal": ({}, {"use_causal_mask": True}, False, 1),
    "causal and dropout": ({"dropout": 0.3}, {"use_causal_mask": True}, False, 1),
    "masks": ({"value_dim": 2}, {}, True, 1),
    "masks and causal": ({}, {"use_causal_mask": True}, True, 1),
    "two": ({"use_bias": False}, {"of": "two"}, True, 1),
    "three": ({"use_gate": True}, {"of": "three"}, False, 1),
    "window": ({"sliding_window": 2}, {}, False, 1),
    "three calls": ({"dropout": 0.1}, {}, False, 3),
    "another output": ({"output_shape": (_WIDTH,)}, {}, False, 1),
    "bfloat16": ({"dtype": "mixed_bfloat16"}, {}, False, 1),
}


# Blocks have masks of their own for dropout, and other sums in bfloat16.
_EXACT = [
    "plain",
    "causal",
    "masks",
    "masks and causal",
    "two",
    "three",
    "window",
    "another output",
]


def _program(case: str, blocks: int = 4, place=None):
    config = ModelConfig(blocks=blocks)
    return parts.program(_attended(*_CASES[case]), config, _ROWS // 2, place=place)


def _batch() -> tuple:
    random = np.random.default_rng(0)
    numbers = random.normal(size=(_ROWS, _LENGTH, _WIDTH)).astype(np.float32)
    numbers[1::2, 3:] = 0  # What a mask leaves out.
    return numbers, random.integers(0, 5, _ROWS).astype(np.int32), np.ones(_ROWS, np.float32)


@pytest.mark.parametrize("case", _CASES)
def test_parts_together_have_the_bits_of_one_process(case):
    parts.assert_same_bits(lambda place: _program(case, place=place), _batch(), 2)


def test_each_block_may_be_a_part():
    parts.assert_same_bits(lambda place: _program("dropout", place=place), _batch(), 4)


@pytest.mark.parametrize("case", _EXACT)
def test_cut_attention_has_the_sums_and_gradients_of_an_uncut_one(case):
    cut, uncut = _program(case), _program(case, blocks=0)
    assert "heads" in cut.blocks.kinds.values() and not uncut.blocks.kinds
    (mine, sums), (theirs, same) = (
        parts.terms(one, one.initial_state(), _batch()) for one in (cut, uncut)
    )
    # Sums of a few products of numbers of about 1 in float32, in another order.
    np.testing.assert_allclose(sums, same, rtol=1e-5)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_every_block_drops_other_scores():
    numbers = keras.Input((_LENGTH, 1))
    attention = layers.MultiHeadAttention(
        4, 1, dropout=0.5, use_bias=False, kernel_initializer="ones", name="attention"
    )
    model = keras.Model(numbers, attention(numbers, numbers))
    blocks = sharding.cut(model, ModelConfig(blocks=4))
    weights = model.trainable_variables
    seen = []
    attention._output_dense.call = lambda heads, **_: seen.append(heads.numpy()) or heads[:, :, 0]
    with blocks.holding(weights, [one.value for one in weights]):
        model(np.ones((3, _LENGTH, 1), np.float32), training=True)
    assert len({one.tobytes() for one in seen}) == len(seen) == 4


def test_a_mask_for_each_head_is_refused():
    numbers, mask = keras.Input((_LENGTH, _WIDTH)), keras.Input((4, _LENGTH, _LENGTH))
    attention = layers.MultiHeadAttention(4, 3, name="attention")
    model = keras.Model([numbers, mask], attention(numbers, numbers, attention_mask=mask))
    blocks = sharding.cut(model, ModelConfig(blocks=4))
    weights = model.trainable_variables
    with (
        blocks.holding(weights, [one.value for one in weights]),
        pytest.raises(
            ConfigError, match="'attention', which has a mask for each head; add attention=rep"
        ),
    ):
        model([np.ones((3, _LENGTH, _WIDTH)), np.ones((3, 4, _LENGTH, _LENGTH))])


def test_attention_within_a_loop_is_refused():
    class Loop(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.attention = layers.MultiHeadAttention(4, 2, name="attention")

        def build(self, shape):
            self.attention.build(shape, shape)

        def call(self, x):
            return tf.while_loop(
                lambda i, _: i < 2, lambda i, x: (i + 1, self.attention(x, x)), (0, x)
            )[1]

    numbers = keras.Input((_LENGTH, _WIDTH))
    model = keras.Model(numbers, Loop()(numbers))
    blocks = sharding.cut(model, ModelConfig(blocks=4, sharding="attention=heads"))
    weights = model.trainable_variables

    @tf.function(autograph=False)
    def called(x):
        with blocks.holding(weights, [one.value for one in weights]):
            return model(x)

    with pytest.raises(ConfigError, match="'attention', which is called within a loop"):
        called(tf.ones((3, _LENGTH, _WIDTH)))
