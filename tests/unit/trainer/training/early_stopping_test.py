"""A run stops after the evaluation after which Keras's callback of this name stops."""

import itertools
import math

import keras
import numpy as np
import pytest

from trainer.training.early_stopping import EarlyStopping

SERIES = [np.random.default_rng(seed).normal(size=12).round(1).tolist() for seed in range(20)]


def _ours(values: list[float], stopping: EarlyStopping) -> tuple[int, int]:
    """The index of the last evaluation, and of the best one."""
    best = None
    for index, value in enumerate(values):
        best = stopping.after(best, index, {stopping.metric: value})
        if stopping.is_over(best):
            break
    assert best
    return index, best.step


def _keras(values: list[float], stopping: EarlyStopping) -> tuple[int, int]:
    callback = keras.callbacks.EarlyStopping(
        stopping.metric, stopping.min_delta, stopping.patience, mode=stopping.mode
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["accuracy"])
    callback.set_model(model)
    callback.on_train_begin()
    model.stop_training = False
    best, last = math.nan, 0
    for index, value in enumerate(values):
        callback.on_epoch_end(index, {stopping.metric: value})
        if callback.best != best:
            best, last = callback.best, index
        if model.stop_training:
            break
    return index, last


@pytest.mark.parametrize(
    "patience, min_delta, mode",
    [*itertools.product([1, 2, 4], [0.0, 0.15], ["min", "max"])],
)
def test_it_stops_as_keras_s_callback_does(patience, min_delta, mode):
    stopping = EarlyStopping(patience, "loss", mode, min_delta)
    for values in SERIES:
        assert _ours(values, stopping) == _keras(values, stopping)


def test_the_direction_follows_from_the_metric_and_nan_is_never_better():
    assert _ours([0.1, 0.2, 0.1, 0.1], EarlyStopping(2, "accuracy")) == (3, 1)
    assert _ours([0.1, 0.2, 0.1, 0.1], EarlyStopping(2, "loss")) == (2, 0)
    assert _ours([math.nan, 0.2, math.nan, 0.1], EarlyStopping(2, "loss")) == (3, 3)


def test_without_patience_nothing_is_remembered_or_restored():
    off = EarlyStopping(restores_best=True)
    assert off.after(None, 3, {}) is None and not off.is_over(None)
    assert off.step_to_restore(None, 5) == 5
