"""The learning rate of every step is that of Keras's schedules; the warm-up is its CosineDecay's."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import schedules

from tests.unit.trainer.config.load_test import message
from trainer.config import rules, schema
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig, OptimizerConfig, TrainConfig
from trainer.model import learning_rates, optimizers

RATE, WARMUP, DECAY, STEPS = 0.3, 7, 20, 40


def _rates(count: int = STEPS, **settings) -> list[float]:
    """The learning rate of each update, as the optimizer itself computes it within a compiled loop."""
    config = OptimizerConfig("sgd", learning_rate=RATE, **settings)
    rules.validate(ExperimentConfig(optimizer=config))
    rate = optimizers.make_optimizer(config, count)._learning_rate

    @tf.function(jit_compile=True)
    def all_rates(steps):
        return tf.map_fn(lambda step: tf.convert_to_tensor(rate(step)), steps, tf.float32)

    return all_rates(tf.range(count)).numpy().tolist()


def _keras(schedule, count: int = STEPS) -> list[float]:
    return [float(schedule(step)) for step in range(count)]


@pytest.mark.parametrize(
    "settings, schedule",
    [
        ({"schedule": "cosine", "decay_steps": DECAY, "final_ratio": 0.1},
         schedules.CosineDecay(RATE, DECAY, alpha=0.1)),
        ({"schedule": "cosine", "decay_steps": DECAY, "warmup_steps": WARMUP},
         schedules.CosineDecay(0.0, DECAY, warmup_target=RATE, warmup_steps=WARMUP)),
        ({"schedule": "linear", "decay_steps": DECAY, "final_ratio": 0.25},
         schedules.PolynomialDecay(RATE, DECAY, 0.25 * RATE)),
        ({"schedule": "exponential", "decay_steps": DECAY, "decay_rate": 0.5},
         schedules.ExponentialDecay(RATE, DECAY, 0.5)),
        ({"schedule": "piecewise", "boundaries": (5, 12), "decay_rate": 0.5},
         schedules.PiecewiseConstantDecay([4, 11], [RATE, RATE / 2, RATE / 4])),
    ],
    ids=lambda value: value.get("schedule") if isinstance(value, dict) else "",
)  # fmt: skip
def test_every_step_has_the_rate_of_keras_s_schedule(settings, schedule):
    # TensorFlow rounds a cosine or a power of a vector otherwise than of one number: one unit.
    expected = _keras(schedule)
    assert _rates(**settings) == pytest.approx(expected, rel=2**-22, abs=RATE * 2**-22)
    optimizer = optimizers.make_optimizer(OptimizerConfig(learning_rate=RATE, **settings), STEPS)
    assert [learning_rates.at(optimizer, step) for step in range(STEPS)] == _rates(**settings)
    assert _rates(10, **settings) == _rates(**settings)[:10]


def test_boundaries_count_the_steps_of_the_run_and_a_warm_up_precedes_any_schedule():
    rates = _rates(schedule="piecewise", boundaries=(10, 20), decay_rate=0.5, warmup_steps=5)
    assert rates[:5] == pytest.approx([RATE * step / 5 for step in range(5)])
    expected = [RATE] * 5 + [RATE / 2] * 10 + [RATE / 4] * 20
    assert rates[5:] == pytest.approx(expected)
    assert _rates(8, warmup_steps=4) == pytest.approx(
        [0, RATE / 4, RATE / 2, RATE * 0.75] + [RATE] * 4
    )


def test_a_decay_until_the_end_of_the_run_follows_from_its_length_which_then_may_not_change():
    optimizer = OptimizerConfig(schedule="linear", warmup_steps=10)
    config = ExperimentConfig(optimizer=optimizer)
    rates = learning_rates.make(optimizer, 100).rates
    fixed = dataclasses.replace(optimizer, decay_steps=90)
    assert np.array_equal(rates, learning_rates.make(fixed, 100).rates) and len(rates) == 100
    assert "train.epochs" not in schema.trajectory_free(config)
    assert "train.epochs" in schema.trajectory_free(ExperimentConfig(optimizer=fixed))
    expected = r"`optimizer.warmup_steps` must be below 10, .* Received: 10; lower it"
    with pytest.raises(ConfigError, match=expected):
        learning_rates.check(optimizer, 10)
    with pytest.raises(ConfigError, match="must be constant for more than 10,000,000 steps"):
        learning_rates.check(fixed, 10_000_001)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"decay_steps": 3}, "`optimizer.decay_steps` must be left out for `optimizer.schedule` "
         "constant. Received: 3; set --config.optimizer.schedule to cosine or linear or exponential."),
        ({"schedule": "cosine", "decay_rate": 0.5}, "Received: 0.5; set --config.optimizer.schedule to "
         "exponential or piecewise."),
        ({"schedule": "piecewise"}, "`optimizer.boundaries` must be increasing steps after the warm-up. "
         "Received: [] with `optimizer.warmup_steps` 0; try 1000,2000."),
        ({"schedule": "piecewise", "boundaries": (4, 9), "warmup_steps": 4}, "Received: [4, 9] with "
         "`optimizer.warmup_steps` 4; try 1004,2004."),
    ],
)  # fmt: skip
def test_fields_that_a_schedule_does_not_read_are_refused(settings, expected):
    config = ExperimentConfig(optimizer=OptimizerConfig(**settings), train=TrainConfig(steps=5))
    assert expected in message(rules.validate, config)


def test_the_rate_of_a_constant_and_of_a_callable_is_known_too():
    optimizer = optimizers.make_optimizer(OptimizerConfig(learning_rate=0.25))
    assert learning_rates.at(optimizer, 5) == 0.25
    optimizer._learning_rate = lambda: np.float32(0.5)
    assert learning_rates.at(optimizer, 5) == 0.5
