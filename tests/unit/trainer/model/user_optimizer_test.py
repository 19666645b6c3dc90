"""Do a recipe's optimizers, one for each weight, update weights as Keras's own one for all does?"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config.fields import ConfigError
from trainer.config.optimizer_schema import OptimizerConfig
from trainer.model import user_optimizer
from trainer.model.optimizers import Optimizers, make_optimizer

_STEPS, _UNIT = 7, 2.0**-24
# Roundings in one update of one number, at most.
_ROUNDINGS = 30


def _excluding(**excluded):
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(**excluded)
    return optimizer


MADE = {
    "a weight without decay": lambda: _excluding(var_names=["weight_1"]),
    "Nadam": lambda: keras.optimizers.Nadam(0.01, beta_1=0.8, weight_decay=0.1),
    "an average": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.7),
    "an average that overwrites": lambda: keras.optimizers.SGD(
        0.1, momentum=0.9, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=3
    ),
    "a schedule and no first step": lambda: keras.optimizers.Nadam(
        keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), clipnorm=0.5
    ),
}


def _weights():
    random = np.random.default_rng(1)
    values = [random.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,))]
    made = [keras.Variable(value, name=f"weight_{index}") for index, value in enumerate(values)]
    made[0].constraint = keras.constraints.MaxNorm(1.0)
    return made


def _gradients():
    random = np.random.default_rng(2)
    return [
        [tf.constant(random.normal(size=shape).astype(np.float32)) for shape in ((3, 4), (4,))]
        for _ in range(_STEPS)
    ]


@pytest.mark.parametrize("kind", MADE)
def test_weights_and_averages_are_those_of_keras(kind):
    theirs, keras_own = _weights(), MADE[kind]()
    keras_own.build(theirs)
    for gradients in _gradients():
        keras_own.apply(gradients, theirs)

    names = ["weight_0", "weight_1"]
    make = user_optimizer.for_each_weight(MADE[kind]())
    user_optimizer.check(MADE[kind]())
    ours = Optimizers(_weights(), names, make, shares=False)
    weights = [tf.constant(variable.numpy()) for variable in _weights()]
    slots = [[tf.constant(slot.numpy()) for slot in own] for own in ours.slots()]
    assert all(
        np.array_equal(*pair) for pair in zip(weights, ours.averaged(weights, slots), strict=True)
    )
    update = tf.function(ours.update, autograph=False)
    for gradients in _gradients():
        weights, slots = update(weights, slots, gradients)
    _assert_close(weights, theirs)

    keras_own.finalize_variable_values(theirs)
    _assert_close(ours.averaged(weights, slots), theirs)
    for index in range(2):
        names = ours.slot_names(index)
        assert len({*names}) == len(names) == len(slots[index])


def test_the_config_s_averages_are_those_of_an_optimizer_that_keeps_them_itself():
    itself = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.7)
    of_config = OptimizerConfig("adam", learning_rate=0.01, ema_momentum=0.7)
    makes = [
        user_optimizer.for_each_weight(itself),
        user_optimizer.for_each_weight(keras.optimizers.Adam(0.01), 0.7),
        lambda: make_optimizer(of_config),
    ]
    found = []
    for make in makes:
        ours = Optimizers(_weights(), ["weight_0", "weight_1"], make, shares=False)
        weights = [tf.constant(variable.numpy()) for variable in _weights()]
        slots = [[tf.constant(slot.numpy()) for slot in own] for own in ours.slots()]
        for gradients in _gradients():
            weights, slots = ours.update(weights, slots, gradients)
        averages = ours.averaged(weights, slots)
        assert not np.array_equal(averages[0], weights[0])
        found.append([value.numpy().tobytes() for value in averages])
    assert found[0] == found[1] == found[2]
    with pytest.raises(ConfigError, match="`optimizer.ema_momentum` must be 0 where the recipe's"):
        user_optimizer.check(itself, 0.7)


def _assert_close(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        largest = max(1.0, float(np.abs(other.numpy()).max()))
        assert np.abs(mine.numpy() - other.numpy()).max() <= _STEPS * _ROUNDINGS * _UNIT * largest


def test_an_exclusion_from_weight_decay_that_names_no_weight_is_refused():
    with pytest.raises(
        ConfigError, match="Received: adam_?w.* with `var_list`; give `var_names` to"
    ):
        user_optimizer.check(_excluding(var_list=_weights()))
