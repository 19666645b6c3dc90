"""Does a model in float16 train as Keras's own loss scaling trains it?"""

import keras
import numpy as np
import tensorflow as tf

from strategies.compiled_loop import updated
from strategies.runtime import Key
from trainer.model import loss_scale, user_optimizer
from trainer.model.losses import REGRESSION
from trainer.model.optimizers import Optimizers
from trainer.model.step import TrainingProgram

_BATCH, _STEPS, _GROWTH = 16, 14, 3


def _model() -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "tanh", dtype="mixed_float16"),
            layers.Dense(2, dtype="float32"),
        ]
    )


def _batches():
    random = np.random.default_rng(5)
    for _ in range(_STEPS):
        yield random.normal(size=(_BATCH, 6)), random.normal(size=(_BATCH, 2))


def _theirs(optimizer):
    model, scales = _model(), []
    model.compile(optimizer, "mean_squared_error", run_eagerly=False, jit_compile=False)
    for x, y in _batches():
        model.train_on_batch(x.astype(np.float32), y.astype(np.float32))
        scales.append(float(optimizer.dynamic_scale))
    return [variable.numpy() for variable in model.trainable_variables], scales


def _ours(optimizer, block_size):
    model = _model()
    inner = user_optimizer.without_loss_scale(optimizer)
    names = [str(index) for index in range(len(model.trainable_variables))]
    make = user_optimizer.for_each_weight(inner)
    program = TrainingProgram(
        model,
        REGRESSION,
        Optimizers(model.trainable_variables, names, make, shares=False),
        block_size=block_size,
        uses_xla=False,
        loss_scale=loss_scale.of(model, optimizer, _BATCH),
    )
    assert program.forward.state_names[-2:] == ["loss_scale", "loss_scale_steps"]

    @tf.function(autograph=False)
    def step(state, batch, number):
        terms, sums = program.gradients(state[0], batch, state[2], Key(number, 0))
        return updated(program, state, terms, sums[-1])

    state, scales = tf.nest.map_structure(tf.constant, program.initial_state().parts), []
    for number, (x, y) in enumerate(_batches()):
        ones = np.ones(_BATCH)
        batch = tuple(tf.constant(array, tf.float32) for array in (x, y, ones))
        state = step(state, batch, tf.constant(number))
        scales.append(float(state[2][-2]))
    return [weight.numpy() for weight in state[0]], scales


def _optimizer():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), 2.0**20, _GROWTH)


def test_scale_skipped_steps_and_weights_are_those_of_keras():
    theirs, their_scales = _theirs(_optimizer())
    ours, scales = _ours(_optimizer(), block_size=0)
    assert scales == their_scales
    assert scales[0] == 2.0**19  # So the first step was skipped,
    assert any(after > before for before, after in zip(scales, scales[1:], strict=False))
    for mine, other in zip(ours, theirs, strict=True):
        # float16 rounds to 2**-11, and an update of Adam is at most the learning rate.
        assert np.abs(mine - other).max() <= _STEPS * 0.01 * 2.0**-11 * 8


def test_a_block_has_smaller_sums_so_its_scale_is_at_least_as_large():
    _, whole = _ours(_optimizer(), block_size=0)
    _, blocks = _ours(_optimizer(), block_size=4)
    assert all(mine >= other for mine, other in zip(blocks, whole, strict=True))


def test_a_fixed_scale_changes_nothing_but_what_would_be_zero():
    scale = loss_scale.of(_model(), keras.optimizers.SGD(loss_scale_factor=64.0), 10)
    state = [tf.constant(64.0), tf.constant(0)]
    assert float(scale.factor(state)) == 64 / 16
    assert scale.advance(state, [tf.constant(np.nan)]) is state


def test_a_model_in_float32_has_no_scale_and_one_in_float16_has_that_of_keras():
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    assert loss_scale.of(plain, None, 8) is None
    settings = loss_scale.of(_model(), None, 8).settings
    assert settings == {"initial": 2.0**15, "growth_steps": 2000}


def test_gradients_that_are_finite_at_no_scale_make_the_state_non_finite():
    scale = loss_scale.of(_model(), None, 8)
    state, bad = [tf.constant(2.0**-20), tf.constant(5)], [tf.constant([1.0, np.inf])]
    for expected in (2.0**-21, np.nan):
        state = scale.advance(state, bad)
        assert np.array_equal(float(state[0]), expected, equal_nan=True) and int(state[1]) == 0
    assert [float(one) for one in scale.kept(bad, [tf.constant(1.0)], [tf.constant(2.0)])] == [1.0]
