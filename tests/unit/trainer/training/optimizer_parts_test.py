"""Is it said who holds the optimizer's state, and refused where parts of it would give other bits?"""

import dataclasses

import keras
import pytest

from strategies import choose
from strategies.cluster.spec import ClusterSpec, Task
from strategies.sync.gradients import Gradients
from trainer.config.fields import ConfigError
from trainer.config.load import override
from trainer.config.schema import ExperimentConfig
from trainer.data import registry
from trainer.model import user_optimizer
from trainer.model.loss_scale import LossScale
from trainer.training import optimizer_parts, programs

CONFIG = override(ExperimentConfig(), {"sync.shard_optimizer": "true"})


def _cluster(**jobs):
    addresses = {
        job: tuple(f"h{index}:{port}" for index in range(count))
        for port, (job, count) in enumerate(jobs.items(), 1)
    }
    return ClusterSpec(addresses, Task(next(iter(jobs)), 0)) if jobs else ClusterSpec()


def _choice(cluster, transport="", tpu=""):
    found = choose.choose(cluster, tpu=tpu)
    agreement = Gradients(shards_optimizer=True)
    return dataclasses.replace(found, agreement=agreement, transport=transport)


@pytest.fixture(scope="module")
def program():
    return programs.training_program(CONFIG, registry.load(CONFIG.data))


@pytest.mark.parametrize(
    "jobs, transport, expected",
    [
        ({}, "", "there is one worker, which holds all of the optimizer's state; it has 0.8 MB"),
        (
            {"worker": 4},
            "direct",
            "each of 4 workers holds a part of the optimizer's state; it has 0.8 MB, and a worker 0.2 MB "
            "of that",
        ),
        (
            {"chief": 1, "worker": 2, "ps": 1},
            "",
            "the parameter servers hold the optimizer's state in parts already: `sync.shard_optimizer` "
            "changes nothing; it has 0.8 MB",
        ),
    ],
)
def test_it_is_said_who_holds_how_much(jobs, transport, expected, program):
    cluster = _cluster(**jobs)
    choice = _choice(cluster, transport)
    optimizer_parts.check_choice(CONFIG, choice, cluster)
    assert optimizer_parts.describe(CONFIG, program, choice, cluster) == expected


@pytest.mark.parametrize(
    "jobs, transport, tpu, expected",
    [
        (
            {"worker": 2},
            "tensorflow",
            "",
            "with --transport=tensorflow, which adds whole gradients",
        ),
        ({}, "", "local", "with tpu, whose cores each hold all of the optimizer's state"),
    ],
)
def test_a_strategy_that_cannot_divide_it_is_refused(jobs, transport, tpu, expected):
    cluster = _cluster(**jobs)
    choice = _choice(cluster, transport, tpu)
    with pytest.raises(ConfigError, match="^`sync.shard_optimizer` must be false " + expected):
        optimizer_parts.check_choice(CONFIG, choice, cluster)
    optimizer_parts.check_choice(ExperimentConfig(), choice, cluster)


@pytest.mark.parametrize(
    "optimizer, expected",
    [
        (
            keras.optimizers.Adam(clipnorm=1.0),
            "for the optimizer Adam, whose update of `.*` has a Sum",
        ),
        (keras.optimizers.Adam(use_ema=True), "for an optimizer with `use_ema`"),
    ],
)
def test_a_recipes_optimizer_that_needs_whole_weights_is_refused(optimizer, expected, program):
    own = programs.training_program(CONFIG, registry.load(CONFIG.data))
    own.optimizers._make = user_optimizer.for_each_weight(optimizer)
    with pytest.raises(ConfigError, match=expected):
        optimizer_parts.check_program(CONFIG, own)
    optimizer_parts.check_program(ExperimentConfig(), own)
    optimizer_parts.check_program(CONFIG, program)


def test_a_norm_of_all_gradients_and_a_loss_scale_that_changes_are_refused():
    own = programs.training_program(CONFIG, registry.load(CONFIG.data))
    own.global_clipnorm = 1.0
    with pytest.raises(ConfigError, match="for an optimizer with `global_clipnorm`"):
        optimizer_parts.check_program(CONFIG, own)
    own.global_clipnorm, own.loss_scale = 0.0, LossScale(2.0, 10, 64)
    with pytest.raises(ConfigError, match="for a loss scale that changes, as float16 needs"):
        optimizer_parts.check_program(CONFIG, own)
    own.loss_scale = LossScale(2.0, 0, 64)
    optimizer_parts.check_program(CONFIG, own)
