"""Does a net that is cut into blocks compute what it computes uncut, and each part its own?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies.cluster.mesh_shape import ModelPart
from tests.unit.trainer.model import parts as parts_lib
from trainer.config.fields import ConfigError
from trainer.config.optimizer_parts_rules import CONNECTING
from trainer.config.optimizer_schema import OPTIMIZERS
from trainer.config.schema import ModelConfig
from trainer.model import build, forward, held_parts, sharding

_ROWS = 12


def _program(blocks: int = 4, optimizer: str = "adam", place: ModelPart | None = None):
    config = ModelConfig(hidden_units=(16, 12, 8), activation="tanh", blocks=blocks)
    return parts_lib.program(
        lambda: build.build(config, (20,), 5, seed=1), config, _ROWS // 2, optimizer, place
    )


def _batch() -> tuple:
    random = np.random.default_rng(0)
    features = random.normal(size=(_ROWS, 20)).astype(np.float32)
    return features, random.integers(0, 5, _ROWS).astype(np.int32), np.ones(_ROWS, np.float32)


def test_a_cut_net_has_the_sums_and_gradients_of_an_uncut_one():
    cut, uncut = _program(), _program(blocks=0)
    (mine, sums), (theirs, same) = (
        parts_lib.terms(one, one.initial_state(), _batch()) for one in (cut, uncut)
    )
    # A sum of 20 products of numbers of about 1 in float32, in another order.
    np.testing.assert_allclose(sums, same, rtol=1e-5)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_together_have_the_bits_of_one_process(parts):
    parts_lib.assert_same_bits(lambda place: _program(place=place), _batch(), parts)


def test_a_part_starts_with_its_part_of_the_same_values():
    whole, part = _program().initial_state(), _program(place=ModelPart(1, 2)).initial_state()
    for one, other in zip(whole.flat_arrays, part.flat_arrays, strict=True):
        np.testing.assert_array_equal(np.array(other), one)


def test_the_parts_bytes_add_up_to_the_whole_and_the_copies():
    program = _program(place=ModelPart(0, 2))
    own = held_parts.bytes_of_weights(program)
    total = held_parts.bytes_of_weights(program, whole=True)
    for variable, axis in zip(program.model.trainable_variables, program.cut_axes[0], strict=True):
        scalars = 12  # Adam's step, an int64, and its learning rate are not cut.
        copies = 1 if axis is None else 2
        of_arrays = copies * (own[id(variable)] - scalars)
        assert of_arrays == total[id(variable)] - scalars


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in CONNECTING])
def test_an_update_of_parts_has_the_bits_of_the_whole(name):
    whole, place = _program(optimizer=name), ModelPart(1, 2)
    part = _program(optimizer=name, place=place)
    state = whole.initial_state()
    weights, slots = state.weights, state.slots
    random, axes = np.random.default_rng(2), part.cut_axes

    def own(arrays, cut):
        return [place.of(np.array(one), axis) for one, axis in zip(arrays, cut, strict=True)]

    mine = own(weights, axes[0])
    held = [own(*pair) for pair in zip(slots, axes[1], strict=True)]
    for _ in range(3):
        gradients = [random.normal(size=one.shape).astype(np.float32) for one in weights]
        weights, slots = whole.update(weights, slots, gradients)
        mine, held = part.update(mine, held, own(gradients, axes[0]))
    for one, other, axis in zip(weights, mine, axes[0], strict=True):
        np.testing.assert_array_equal(other, place.of(np.array(one), axis))


@pytest.mark.parametrize("name", CONNECTING)
def test_an_optimizer_that_reads_whole_weights_is_refused(name):
    with pytest.raises(ConfigError, match="`optimizer.name` must be one that updates each number"):
        _program(optimizer=name, place=ModelPart(0, 2))


def test_a_weight_that_no_part_cuts_may_have_any_update():
    own = _program()
    weight = own.model.trainable_variables[-1]
    weight.constraint = keras.constraints.MaxNorm(1)  # Which reads the whole weight.
    assert own.cut_axes[0][-1] is None
    held_parts.take(own, ModelPart(0, 2))


def test_a_cut_weight_that_another_layer_reads_is_refused():
    class Tied(keras.layers.Layer):
        def call(self, inputs):
            return inputs @ tf.transpose(hidden.kernel)

    inputs, hidden = keras.Input((8,)), keras.layers.Dense(8, name="hidden")
    outputs = Tied()(keras.layers.Dense(8)(hidden(inputs)))
    model = keras.Model(inputs, outputs)
    blocks = sharding.cut(model, ModelConfig(blocks=2))
    called = forward.Forward(model, blocks=blocks)
    weights = [variable.value for variable in model.trainable_variables]
    with pytest.raises(ConfigError, match="`model.sharding` must leave out a layer whose weights"):
        called.evaluate(weights, [], np.zeros((2, 8), np.float32))
