"""Smoothed labels, L1 and L2 give the loss of Keras's own; dropout draws anew for each block and step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from strategies.runtime import Key
from tests.unit.trainer.config.load_test import message
from trainer.config import rules
from trainer.config.schema import DataConfig, ExperimentConfig, ModelConfig, TrainConfig
from trainer.data.dataset import Dataset, Split
from trainer.training import programs

EXAMPLES = 16


def _program(block_size: int = 0, label_smoothing: float = 0.0, **model):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(EXAMPLES, 5)).astype(np.float32)
    targets = rng.integers(0, 3, EXAMPLES).astype(np.int32)
    split = Split(features, targets)
    dataset = Dataset("made_up", split, split, 3, 3, "made up")
    config = ExperimentConfig(
        model=ModelConfig(hidden_units=(8,), **model),
        train=TrainConfig(steps=3, label_smoothing=label_smoothing),
    )
    rules.validate(config)
    program = programs.training_program(config, dataset, block_size)
    batch = tf.constant(features), tf.constant(targets), tf.ones(EXAMPLES)
    return program, batch


def _state(program):
    parts = program.initial_state().parts
    return [tf.constant(w) for w in parts[0]], [tf.constant(s) for s in parts[2]]


@pytest.mark.parametrize("block_size", [0, 4])
def test_the_loss_is_keras_s_with_smoothed_labels_and_each_penalty_counted_once(block_size):
    program, batch = _program(block_size, 0.2, l1=0.01, l2=0.05)
    weights, state = _state(program)
    _, sums = program.gradients(weights, batch, state)
    model = keras.models.clone_model(program.model)
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    model.compile("sgd", loss)
    expected = model.evaluate(batch[0], tf.one_hot(batch[1], 3), verbose=0)
    # float32's rounding, of some 100 terms in another order.
    assert program.means(sums.numpy())["loss"] == pytest.approx(expected, rel=1e-5)


def test_dropout_follows_from_seed_step_and_block_and_is_off_in_evaluation():
    program, batch = _program(4, dropout=0.5)
    weights, state = _state(program)

    def loss(step, share=0):
        return float(program.gradients(weights, batch, state, Key(step, share))[1][0])

    assert loss(3) == loss(3)
    assert len({loss(0), loss(1), loss(0, share=1)}) == 3
    plain, _ = _program(4)
    evaluated = program.sums(weights, batch, state)
    assert np.array_equal(evaluated, plain.sums(weights, batch, []))


@pytest.mark.parametrize(
    "config, expected",
    [
        (ExperimentConfig(recipe="a.py", model=ModelConfig(dropout=0.5)),
         "`model.dropout` must be 0 for a recipe that brings its own model. Received: 0.5; use "
         "keras.layers.Dropout in the recipe."),
        (ExperimentConfig(model=ModelConfig(hidden_units=(), dropout=0.5)), "without hidden layers"),
        (ExperimentConfig(data=DataConfig("linear_100"), train=TrainConfig(label_smoothing=0.1)),
         "`train.label_smoothing` must be 0 for a regression. Received: 0.1 for linear_100"),
    ],
)  # fmt: skip
def test_options_that_do_not_apply_are_refused(config, expected):
    assert expected in message(rules.validate, config)
