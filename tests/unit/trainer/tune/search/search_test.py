"""Does a search assign its trials, record their ends, and restore both from its ledger?"""

import contextlib
import dataclasses
import json

import pytest

from strategies.errors import InputError
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.config.load import resolve
from trainer.tune.search import oracle
from trainer.tune.search.ledger import Ledger
from trainer.tune.search.record import COMPLETED, FAILED, RUNNING, STOPPED, Objective
from trainer.tune.search.search import Search
from trainer.tune.search.trial_source import Outcome, Progress
from trainer.tune.space import space

ACCURACY = Objective.named("test_accuracy")
BASE = resolve("digits_dense")
SPACE = {"optimizer.learning_rate": "0.001|0.01|0.1", "data.global_batch_size": "32|64"}


def make_trial(suggestion):
    overrides, _ = LOADED_SPACE.split(suggestion.values)
    return config_load.override(BASE, overrides), ("--workers=1",)


LOADED_SPACE = space.load("digits_dense", "", SPACE)


@contextlib.contextmanager
def searching(path, make=make_trial, early_stop="never", max_trials=0):
    made = oracle.create(
        "grid", LOADED_SPACE, ACCURACY, max_trials=max_trials, seed=1, max_epochs=4, factor=2
    )
    with contextlib.closing(Ledger(path / "ledger.jsonl", {"seed": 1})) as ledger:
        yield Search(ACCURACY, made, ledger, make, early_stop)


def completed(accuracy, **more):
    return Outcome(COMPLETED, {"test_accuracy": accuracy, "test_loss": 1.0}, 24, 1.0, **more)


def statuses(search):
    return [record.status for record in search.records()]


def test_a_trial_has_the_config_with_its_values_and_the_outcome_that_was_told(tmp_path):
    with searching(tmp_path) as search:
        spec = search.ask("0")
        config = config_load.from_json(json.dumps(spec.config))
        assert config.optimizer.learning_rate == spec.config["optimizer"]["learning_rate"]
        assert dataclasses.replace(config, optimizer=BASE.optimizer, data=BASE.data) == BASE
        assert spec.flags == ("--workers=1",)
        search.tell(spec.id, completed(0.9, seconds=2.0))
        (record,) = search.records()
        assert (record.status, record.objective, record.seconds) == (COMPLETED, 0.9, 2.0)
        assert record.epochs == BASE.train.epochs
        assert search.best() == record


def test_every_setting_is_tried_once_and_then_the_search_has_finished(tmp_path):
    with searching(tmp_path) as search:
        while spec := search.ask("0"):
            assert not search.is_finished
            search.tell(spec.id, completed(0.5))
        assert search.is_finished
        values = {json.dumps(record.values) for record in search.records()}
        assert len(values) == len(search.records()) == 6


def test_a_search_has_not_finished_while_a_trial_runs(tmp_path):
    with searching(tmp_path, max_trials=1) as search:
        spec = search.ask("0")
        assert search.ask("1") is None and not search.is_finished
        search.tell(spec.id, completed(0.5))
        assert search.is_finished


def test_a_resumed_search_keeps_ended_trials_and_assigns_the_running_ones_again_first(tmp_path):
    with searching(tmp_path) as search:
        first, second, third = (search.ask(str(place)) for place in range(3))
        search.tell(second.id, completed(0.7, seconds=3.0))
        search.requeue(third.id, 4.0)
    with searching(tmp_path) as search:
        assert statuses(search) == [RUNNING, COMPLETED, RUNNING]
        assert [search.ask("a").id, search.ask("b").id] == [first.id, third.id]
        fourth = search.ask("c")
        assert fourth.id not in (first.id, second.id, third.id)
        search.tell(third.id, completed(0.8, seconds=1.5))
        assert search.records()[2].seconds == 5.5, "the time before the interruption counts"


@pytest.mark.parametrize("cut", range(13))
def test_a_search_interrupted_after_any_event_has_the_same_trials_at_its_end(tmp_path, cut):
    def run(folder, calls):
        with searching(folder) as search:
            while calls and (spec := search.ask("0")):
                calls -= 1
                if calls:
                    search.tell(spec.id, completed(hash(str(spec.config)) % 97 / 97))
                    calls -= 1
            return [(one.id, one.values, one.status, one.objective) for one in search.records()]

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", 100)
    run(tmp_path / "cut", cut)
    assert run(tmp_path / "cut", 100) == whole


def test_an_invalid_combination_is_a_failed_trial_and_the_next_is_assigned(tmp_path):
    def refusing(suggestion):
        if suggestion.id == "0000":
            raise ConfigError(
                "`optimizer.momentum` must be 0 for adam. Received: 0.5; leave it out."
            )
        return make_trial(suggestion)

    with searching(tmp_path, refusing) as search:
        assert search.ask("0").id == "0001"
        failed = search.records()[0]
        assert failed.status == FAILED and "must be 0 for adam" in failed.error
    with searching(tmp_path, refusing) as search:
        assert statuses(search) == [FAILED, RUNNING]


def test_an_invalid_combination_without_an_end_in_the_ledger_fails_when_the_sweep_resumes(tmp_path):
    def refusing(suggestion):
        raise ConfigError("`x` is bad. Received: 1; leave it out.")

    with searching(tmp_path, max_trials=1) as search:
        search.ask("0")
    with searching(tmp_path, refusing, max_trials=1) as search:
        assert search.ask("0") is None and search.is_finished
        assert statuses(search) == [FAILED]


def test_a_trial_without_the_objective_has_failed(tmp_path):
    with searching(tmp_path) as search:
        search.tell(search.ask("0").id, Outcome(COMPLETED, {"test_loss": 1.0}))
        (record,) = search.records()
        assert (record.status, record.error) == (FAILED, "the run reported no test_accuracy")
        assert search.best() is None


def test_a_resumed_sweep_still_stops_trials_early(tmp_path):
    with searching(tmp_path, early_stop="median") as search:
        for _ in range(5):
            trial_id = search.ask("0").id
            assert not search.report(trial_id, Progress(24, 1.0, {"test_accuracy": 0.8}))
            search.tell(trial_id, completed(0.9))
    with searching(tmp_path, early_stop="median") as search:
        trial_id = search.ask("0").id
        assert search.report(trial_id, Progress(24, 1.0, {"test_accuracy": 0.7}))
        search.tell(trial_id, Outcome(STOPPED, {"test_accuracy": 0.7}, 24, 1.0))
        assert search.records()[-1].objective == 0.7
        assert search.best().objective == 0.9, "a stopped trial cannot be the best"


def test_reported_progress_is_in_the_records(tmp_path):
    with searching(tmp_path) as search:
        trial_id = search.ask("tuner0/1").id
        search.report(trial_id, Progress(48, 2.0, {"test_accuracy": 0.6, "final_loss": 0.3}))
        (record,) = search.records()
        assert (record.step, record.epoch, record.objective) == (48, 2.0, 0.6)
        assert (record.status, record.runner) == (RUNNING, "tuner0/1")


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "ended", "id": "0007"}',
        '{"event": "asked", "id": "0000"}',
        '{"event": "unknown"}',
        '{"event": "interrupted", "id": "0000", "seconds": 1}',
    ],
)
def test_a_ledger_with_an_impossible_event_is_refused(tmp_path, line):
    with searching(tmp_path):
        pass
    with open(tmp_path / "ledger.jsonl", "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(InputError, match="damaged sweep"), searching(tmp_path):
        pass


def test_a_ledger_with_trials_that_the_oracle_would_not_suggest_is_refused(tmp_path):
    with searching(tmp_path) as search:
        search.ask("0")
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().replace("0.001", "0.002"))
    with pytest.raises(InputError, match="another version of keras-tuner"), searching(tmp_path):
        pass
