"""Does assembling a run start nothing, and give the values that the config asks for?"""

import numpy as np
import pytest

from strategies.choose import Choice
from strategies.cluster.mesh_shape import ModelPart
from strategies.state import State
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.data import registry
from trainer.storage.checkpoints import Checkpoint
from trainer.storage.workdir import Workdir
from trainer.training import assemble, programs


class _Runtime:
    """Four CPU replicas; any call that starts or exchanges something is an AttributeError."""

    num_replicas, num_workers, local_replicas = 4, 1, range(4)
    evaluating_replicas = 4, range(4)
    device_type, adds_in_order, adds_within_step = "CPU", True, False
    model_part, holds_part = ModelPart(), False

    def steps_per_loop(self, report_every):
        return None


def _config(**overrides):
    flags = {name.replace("__", "."): str(value) for name, value in overrides.items()}
    return config_load.resolve("digits_dense", flags)


def _computation(**overrides):
    config = _config(**overrides)
    return assemble.computation(config, registry.load(config.data), _Runtime())


def test_assembling_starts_nothing_and_writes_nothing(tmp_path):
    config = _config(train__skip_bad_batches=2, train__checkpoint_every_s=1.5)
    dataset = registry.load(config.data)
    parts = assemble.assemble(config, dataset, _Runtime(), Workdir(tmp_path), tmp_path)
    assert list(tmp_path.iterdir()) == []
    policy = parts.checkpoints
    assert (policy.store.steps(), policy.every_s, policy.max_skipped) == ([], 1.5, 2)


def test_a_task_without_a_workdir_has_no_checkpoints():
    config = _config()
    parts = assemble.assemble(config, registry.load(config.data), _Runtime(), None)
    assert (parts.checkpoints.store, parts.workdir, parts.examples_dir) == (None, None, None)


@pytest.mark.parametrize("wanted, logs", [("true", True), ("false", False)])
def test_examples_are_logged_only_if_the_config_asks_for_it(wanted, logs, tmp_path):
    config = _config(train__log_examples=wanted)
    parts = assemble.assemble(config, registry.load(config.data), _Runtime(), None, tmp_path)
    assert parts.examples_dir == (tmp_path if logs else None)


def test_the_schedule_is_that_of_the_config():
    schedule = _computation(train__epochs=3, train__eval_every_epochs=2).schedule
    assert (schedule.total_steps, schedule.steps_per_epoch) == (3 * 24, 24)  # 1,497 / 64.
    assert (schedule.evaluate_every, schedule.checkpoint_every) == (48, 24)
    assert _computation(train__steps=5, train__epochs=3).schedule.total_steps == 5


def test_a_built_in_net_that_trains_has_no_values_of_its_own_in_memory():
    config = _config(model__dropout=0.2, model__frozen_layers="hidden_1")
    program = _computation(model__dropout=0.2, model__frozen_layers="hidden_1").program
    kept = programs.training_program(config, registry.load(config.data))
    for _ in range(2):  # They are made anew each time, and are the same.
        found, wanted = (one.initial_state().flat_arrays for one in (program, kept))
        assert all(map(np.array_equal, found, wanted)) and len(found) == len(wanted)
    assert all(variable._value is None for variable in program.model.variables)
    assert all(variable._value is not None for variable in kept.model.variables)


def test_shorter_loops_are_those_that_the_config_would_give():
    shortened, configured = (
        _computation().with_steps_per_loop(3),
        _computation(train__steps_per_loop=3),
    )
    assert shortened.schedule == configured.schedule
    loops = list(configured.schedule.loops(0))[:9]
    both = [list(one.train_input.loop_inputs(loops)) for one in (shortened, configured)]
    for mine, theirs in zip(*both, strict=True):
        assert np.array_equal(np.stack(mine), np.stack(theirs))


def test_a_batch_that_does_not_divide_among_the_replicas_is_refused():
    with pytest.raises(ConfigError, match="Received: 50 for 4 replicas; try 48 or 52"):
        _computation(data__global_batch_size=50)


def test_an_evaluator_needs_no_batch_that_divides_among_its_devices(tmp_path):
    config = _config(data__global_batch_size=50)
    evaluator = assemble.checkpoint_evaluator(
        config, Choice("mirrored", "a test"), ["CPU:0"], Workdir(tmp_path)
    )
    assert (evaluator.steps_per_epoch, evaluator.total_steps) == (30, 20 * 30)  # 1,497 / 50.
    assert evaluator.store.steps() == []


def test_only_fields_that_decide_the_weights_make_another_run(tmp_path):
    def store(**overrides):
        config = _config(**overrides)
        dataset = registry.load(config.data)
        program = programs.training_program(config, dataset)
        return program, assemble.checkpoint_store(config, program, dataset, Workdir(tmp_path))

    program, saved = store()
    weights = program.initial_weights()
    saved.save(Checkpoint(7, State(weights, program.initial_slots(weights))))
    assert store(train__steps=9, train__steps_per_loop=2)[1].newest().step == 7
    assert store(optimizer__learning_rate=0.5)[1].newest() is None
