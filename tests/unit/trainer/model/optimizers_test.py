"""Every optimizer of the config updates as Keras's own; in a loop and alone with the same bits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies.compiled_loop import CompiledProgram
from strategies.runtime import Key
from trainer.config.optimizer_schema import OPTIMIZERS
from trainer.config.schema import ExperimentConfig, ModelConfig, OptimizerConfig, TrainConfig
from trainer.data.dataset import Dataset, Split
from trainer.training import programs

STEPS, BATCH = 3, 16


def _program(name: str, **settings):
    """A net of 5-8-3 and batches for STEPS steps."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(STEPS * BATCH, 5)).astype(np.float32)
    targets = rng.integers(0, 3, STEPS * BATCH).astype(np.int32)
    split = Split(features, targets)
    dataset = Dataset("made_up", split, split, 3, 3, "made up")
    config = ExperimentConfig(
        model=ModelConfig(hidden_units=(8,)),
        optimizer=OptimizerConfig(name, learning_rate=0.01, **settings),
        train=TrainConfig(steps=STEPS),
    )
    program = programs.training_program(config, dataset)
    weights = np.ones((STEPS, BATCH), np.float32)
    batches = features.reshape(STEPS, BATCH, 5), targets.reshape(STEPS, BATCH), weights
    return config, program, tuple(tf.constant(array) for array in batches)


def _after_steps(program, batches) -> list[np.ndarray]:
    """The weights after steps of which each is a call of its own."""
    compiled = CompiledProgram(program)
    state = tf.nest.map_structure(tf.constant, program.initial_state().parts)
    for step in range(STEPS):
        batch = tuple(array[step] for array in batches)
        terms, sums = compiled.gradients(state[0], batch, state[2], Key(tf.constant(step), 0))
        flat = [tf.reshape(term, [-1]) for term in terms]
        state = compiled.update(state, tf.concat([*flat, sums, [0.0]], 0))
    return [weight.numpy() for weight in state[0]]


QUICK = ("adafactor", "lion", "muon", "nadam")  # Each in a way of its own.
CASES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in OPTIMIZERS
]


@pytest.mark.parametrize("name", CASES)
def test_an_optimizer_updates_as_keras_s_own_and_alike_in_a_loop_and_alone(name):
    config, program, batches = _program(name, schedule="cosine", weight_decay=0.01)
    if name == "muon":  # As for a recipe's own model: it is refused for nets that XLA compiles.
        program.uses_xla = program.optimizers._shares = False
    after = _after_steps(program, batches)
    state = tf.nest.map_structure(tf.constant, program.initial_state().parts)
    loop = CompiledProgram(program).fused_steps
    fused, _ = loop(state, batches, tf.constant(STEPS), Key(tf.constant(0), 0))
    for one, other in zip(after, fused[0], strict=True):
        np.testing.assert_array_equal(one, other.numpy())
    for mine, theirs in zip(after, _keras_after_steps(config, program, batches), strict=True):
        # Both round each of some ten operations; Adam's and Muon's norms multiply the error.
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6)


def _keras_after_steps(config, program, batches) -> list[np.ndarray]:
    """What Keras's `fit` makes of the same weights and batches."""
    kind = {one.__name__.lower(): one for one in _keras_classes()}[config.optimizer.name]
    rate = keras.optimizers.schedules.CosineDecay(0.01, STEPS)
    more = {"adam_weight_decay": 0.01, "exclude_layers": ["output"]}
    more = more if config.optimizer.name == "muon" else {}
    model = keras.models.clone_model(program.model)
    for variable, value in zip(model.trainable_variables, program.initial_weights(), strict=True):
        variable.assign(value)
    model.compile(
        kind(rate, weight_decay=0.01, **more),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    for step in range(STEPS):
        model.train_on_batch(batches[0][step], batches[1][step])
    return [variable.numpy() for variable in model.trainable_variables]


def _keras_classes() -> list[type]:
    found = vars(keras.optimizers).values()
    return [one for one in found if isinstance(one, type)]
