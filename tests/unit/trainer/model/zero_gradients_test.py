"""Is it known which optimizers leave a row without a gradient as it is? They are also tried."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config.optimizer_schema import OptimizerConfig
from trainer.model import optimizers, user_optimizer, zero_gradients

SGD, ADAGRAD = keras.optimizers.SGD, keras.optimizers.Adagrad
DECAY = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)


def _of(make):
    variable = keras.Variable(np.zeros((5, 3), np.float32), name="table")
    return optimizers.Optimizers([variable], ["table"], make)


def _changes_when_tried(own):
    """Whether a row changes in an update in which it has no gradient, the first or a later one."""
    random = np.random.default_rng(0)
    weights = [tf.constant(random.normal(size=(5, 3)).astype(np.float32))]
    slots = [[tf.constant(slot) for slot in own.initial_slots()[0]]]
    changes = []
    for _ in range(3):
        before, after = (weights, slots), own.update(weights, slots, [tf.zeros([5, 3])])
        changes += [
            bool(tf.reduce_any(one != other))
            for one, other in zip(tf.nest.flatten(before), tf.nest.flatten(after), strict=True)
            if one.shape.rank
        ]
        gradient = tf.constant(random.normal(size=(5, 3)).astype(np.float32))
        weights, slots = own.update(weights, slots, [gradient])
    return any(changes)


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: optimizers.make_optimizer(OptimizerConfig("sgd")), ""),
        (lambda: optimizers.make_optimizer(OptimizerConfig("adagrad")), ""),
        (user_optimizer.for_each_weight(ADAGRAD(DECAY)), ""),
        (user_optimizer.for_each_weight(SGD(momentum=0.9)), "weight_momentum"),
        (user_optimizer.for_each_weight(SGD(weight_decay=0.1)), "weight"),
        (user_optimizer.for_each_weight(ADAGRAD(use_ema=True)), "weight_average"),
        (lambda: optimizers.make_optimizer(OptimizerConfig("rmsprop")), "weight_velocity"),
        (lambda: optimizers.make_optimizer(OptimizerConfig("adam")), "weight_momentum"),
        (lambda: optimizers.make_optimizer(OptimizerConfig("ftrl")), "weight_linear"),
    ],
)
def test_it_is_known_what_changes_without_a_gradient(make, expected):
    assert zero_gradients.changed(_of(make), 0) == expected
    assert _changes_when_tried(_of(make)) == bool(expected)


@pytest.mark.parametrize("name", optimizers._OPTIMIZERS)
def test_no_optimizer_that_changes_such_a_row_is_taken_for_one_that_does_not(name):
    own = _of(lambda: optimizers.make_optimizer(OptimizerConfig(name)))
    assert zero_gradients.changed(own, 0) or not _changes_when_tried(own)


def test_a_constraint_that_changes_such_a_row_is_found():
    variable = keras.Variable(np.ones((5, 3), np.float32), name="table")
    variable.constraint = keras.constraints.UnitNorm()
    make = user_optimizer.for_each_weight(SGD())
    own = optimizers.Optimizers([variable], ["table"], make, shares=False)
    assert zero_gradients.changed(own, 0) == "weight"
