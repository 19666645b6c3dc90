"""Which learning rate has each update? `make` returns that of a config: one number, or a table of them.

A schedule is a function of the number of updates so far, which the optimizer counts in a slot. So it
follows the run through a resume, and is the same on every task. Keras's schedules fill the table before
the first step: within a step, XLA and each graph would round their cosines and powers differently.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from keras.optimizers import schedules

from trainer.config.fields import ConfigError
from trainer.config.schema import OptimizerConfig

_CHUNK = 1024  # Updates. Kernels round the last, incomplete vector of an array in another way.
_MAX_STEPS = 10_000_000  # A table is part of every compiled program.


def check(config: OptimizerConfig, total_steps: int) -> None:
    """Raises ConfigError where a run of `total_steps` is too short or too long for its schedule."""
    if config.schedule == "constant" and not config.warmup_steps:
        return
    if total_steps > _MAX_STEPS:
        raise ConfigError(
            f"`optimizer.schedule` must be constant for more than {_MAX_STEPS:,} steps. Received: "
            f"{config.schedule} for {total_steps:,}; use larger batches, or fewer epochs."
        )
    if config.decays_with_run and config.warmup_steps >= total_steps:
        raise ConfigError(
            f"`optimizer.warmup_steps` must be below {total_steps}, the number of steps of the run. "
            f"Received: {config.warmup_steps}; lower it, or set `optimizer.decay_steps`."
        )


def make(config: OptimizerConfig, total_steps: int) -> "float | Table":
    """What a Keras optimizer takes as its `learning_rate` in a run of `total_steps`."""
    if config.schedule == "constant" and not config.warmup_steps:
        return config.learning_rate
    warmup, rate = config.warmup_steps, config.learning_rate
    growing = np.float32(rate) * (np.arange(warmup, dtype=np.float32) / np.float32(max(1, warmup)))
    rest = max(1, total_steps - warmup)
    schedule = _after_warmup(config, config.decay_steps or rest)
    if schedule is None:
        after = np.array([rate], np.float32)
    else:
        with tf.init_scope(), tf.device("CPU:0"):
            chunks = [tf.range(start, start + _CHUNK) for start in range(0, rest, _CHUNK)]
            after = np.concatenate([ops.convert_to_numpy(schedule(one)) for one in chunks])[:rest]
    return Table(np.concatenate([growing, after]).astype(np.float32))


def _after_warmup(
    config: OptimizerConfig, decay_steps: int
) -> schedules.LearningRateSchedule | None:
    """As a function of the updates since the end of the warm-up; None: constant."""
    rate = config.learning_rate
    match config.schedule:
        case "cosine":
            return schedules.CosineDecay(rate, decay_steps, alpha=config.final_ratio)
        case "linear":
            return schedules.PolynomialDecay(rate, decay_steps, rate * config.final_ratio)
        case "exponential":
            return schedules.ExponentialDecay(rate, decay_steps, config.decay_rate)
        case "piecewise":
            values = [rate * config.decay_rate**n for n in range(len(config.boundaries) + 1)]
            # Keras changes the rate after the update number b, counted from 0.
            starts = [boundary - config.warmup_steps - 1 for boundary in config.boundaries]
            return schedules.PiecewiseConstantDecay(starts, values)
    return None


class Table(schedules.LearningRateSchedule):
    """float32 [n]: the rate of each of the first n updates; later ones have the last."""

    def __init__(self, rates: np.ndarray):
        super().__init__()
        self.rates = rates

    def __call__(self, step):
        return tf.gather(self.rates, tf.minimum(tf.cast(step, tf.int64), len(self.rates) - 1))

    def get_config(self):
        return {"rates": self.rates.tolist()}


def at(optimizer: keras.optimizers.Optimizer, num_updates: int) -> float:
    """The learning rate of the update that follows `num_updates` others."""
    rate = optimizer._learning_rate
    if isinstance(rate, schedules.LearningRateSchedule):
        rate = rate(num_updates)
    elif callable(rate):
        rate = rate()
    return float(tf.convert_to_tensor(rate))
