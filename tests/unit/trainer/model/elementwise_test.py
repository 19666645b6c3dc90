"""Is an optimizer that connects the numbers of a weight found? Are pieces updated to the same bits?"""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies import weight_pieces
from trainer.config.optimizer_parts_rules import CONNECTING
from trainer.config.optimizer_schema import OPTIMIZERS
from trainer.config.schema import OptimizerConfig
from trainer.model import elementwise, optimizers, user_optimizer

SHAPES = [(37, 53), (), (53,)]
ELEMENTWISE = [name for name in OPTIMIZERS if name not in CONNECTING]


def _variables(constraint=None):
    random = np.random.default_rng(0)
    variables = [
        keras.Variable(random.normal(size=shape).astype(np.float32), name=f"w{index}")
        for index, shape in enumerate(SHAPES)
    ]
    variables[0].constraint = constraint
    return variables


def _optimizers(make, variables, shares=True):
    return optimizers.Optimizers(variables, [one.name for one in variables], make, shares)


def _of_config(name, variables):
    config = OptimizerConfig(
        name, momentum=0.9, weight_decay=0.01, schedule="cosine", warmup_steps=2
    )
    return _optimizers(functools.partial(optimizers.make_optimizer, config, 100), variables)


def _of_recipe(optimizer, constraint=None):
    make = user_optimizer.for_each_weight(optimizer)
    return _optimizers(make, _variables(constraint), shares=False)


def _of_pieces(own, pieces):
    return own.of_parts([(one.weight, one.shape(SHAPES[one.weight])) for one in pieces])


def _steps(own, weights, slots, gradients, uses_xla):
    def update(weights, slots, gradients):
        scale = 1.0 / tf.constant(7.0)
        return own.update(weights, slots, [one * scale for one in gradients])

    compiled = tf.function(update, jit_compile=uses_xla or None, autograph=False)
    for each in gradients:
        weights, slots = compiled(weights, slots, each)
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), (weights, slots))


@pytest.mark.parametrize(
    "name, uses_xla", [*((name, True) for name in ELEMENTWISE), ("adam", False)]
)
def test_pieces_of_weights_are_updated_to_the_bits_of_whole_ones(name, uses_xla):
    variables = _variables()
    own = _of_config(name, variables)
    random = np.random.default_rng(1)
    gradients = [
        [
            (random.normal(size=shape) * 10.0 ** random.integers(-6, 3, shape)).astype(np.float32)
            for shape in SHAPES
        ]
        for _ in range(5)
    ]
    weights, slots = [one.numpy() for one in variables], own.initial_slots()
    whole, whole_slots = _steps(own, weights, slots, gradients, uses_xla)
    for pieces in weight_pieces.cut(SHAPES, 2):
        cut = [one.of(weights[one.weight]) for one in pieces]
        cut_slots = [[one.of(slot) for slot in slots[one.weight]] for one in pieces]
        theirs = [[one.of(each[one.weight]) for one in pieces] for each in gradients]
        found, found_slots = _steps(_of_pieces(own, pieces), cut, cut_slots, theirs, uses_xla)
        for piece, weight, its_slots in zip(pieces, found, found_slots, strict=True):
            assert weight.tobytes() == piece.of(whole[piece.weight]).tobytes()
            for mine, other in zip(its_slots, whole_slots[piece.weight], strict=True):
                assert mine.dtype == other.dtype and mine.tobytes() == piece.of(other).tobytes()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_that_connect_numbers_are_those_that_configs_may_not_have(name):
    found = elementwise.connecting(_of_config(name, _variables()))
    assert (found is not None) == (name in CONNECTING)


@pytest.mark.parametrize(
    "optimizer, constraint, expected",
    [
        (keras.optimizers.Adam(clipvalue=0.5), None, None),
        (keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), None, None),
        (keras.optimizers.RMSprop(centered=True), None, None),
        (keras.optimizers.Adam(amsgrad=True), None, None),
        (keras.optimizers.Adam(), keras.constraints.NonNeg(), None),
        (keras.optimizers.Adam(clipnorm=0.5), None, ("w0", "Sum")),
        (keras.optimizers.Adam(), keras.constraints.MaxNorm(1), ("w0", "Sum")),
        (keras.optimizers.Lamb(), None, ("w0", "Pow")),
        (keras.optimizers.Muon(), None, ("w0", "Sum")),
    ],
)
def test_what_a_recipes_optimizer_adds_is_found(optimizer, constraint, expected):
    assert elementwise.connecting(_of_recipe(optimizer, constraint)) == expected


def test_weights_may_be_excluded_from_decay_by_name_in_pieces_too():
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["w2"])
    own = _of_recipe(optimizer)
    (pieces,) = weight_pieces.cut(SHAPES, 1)
    weights = [np.ones(one.shape(SHAPES[one.weight]), np.float32) for one in pieces]
    slots = [[one.of(slot) for slot in own.initial_slots()[one.weight]] for one in pieces]
    found, _ = _of_pieces(own, pieces).update(weights, slots, [0 * weight for weight in weights])
    assert [float(np.max(weight)) for weight in found] == [
        pytest.approx(0.95), pytest.approx(0.95), 1.0
    ]  # fmt: skip


def test_initial_slots_take_no_memory_but_have_keras_values():
    config = dataclasses.replace(OptimizerConfig(), name="adagrad")
    variables = [keras.Variable("zeros", (300, 7), name="w")]
    (own,) = _optimizers(
        functools.partial(optimizers.make_optimizer, config, 0), variables
    ).initial_slots()
    assert own[0].tolist() == 0 and own[-1].shape == (300, 7)
    assert (own[-1] == np.float32(0.1)).all() and own[-1].strides == (0, 0)
