"""The trials of a sweep, given out, told and read back from the ledger at any point."""

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
    overrides, _ = SPACE_READ.split(suggestion.values)
    return config_load.override(BASE, overrides), ("--workers=1",)


SPACE_READ = space.load("digits_dense", "", SPACE)


@contextlib.contextmanager
def searching(path, make=make_trial, early_stop="never", max_trials=0):
    made = oracle.create(
        "grid", SPACE_READ, ACCURACY, max_trials=max_trials, seed=1, max_epochs=4, factor=2
    )
    with contextlib.closing(Ledger(path / "ledger.jsonl", {"seed": 1})) as ledger:
        yield Search(ACCURACY, made, ledger, make, early_stop)


def done(accuracy, **more):
    return Outcome(COMPLETED, {"test_accuracy": accuracy, "test_loss": 1.0}, 24, 1.0, **more)


def statuses(search):
    return [record.status for record in search.records()]


def test_a_trial_is_the_config_with_its_values_and_comes_to_what_is_told(tmp_path):
    with searching(tmp_path) as search:
        assignment = search.ask("0")
        config = config_load.from_json(json.dumps(assignment.config))
        assert config.optimizer.learning_rate == assignment.config["optimizer"]["learning_rate"]
        assert dataclasses.replace(config, optimizer=BASE.optimizer, data=BASE.data) == BASE
        assert assignment.flags == ("--workers=1",)
        search.tell(assignment.id, done(0.9, seconds=2.0))
        (record,) = search.records()
        assert (record.status, record.objective, record.seconds) == (COMPLETED, 0.9, 2.0)
        assert record.epochs == BASE.train.epochs
        assert search.best() == record


def test_every_setting_is_tried_once_and_then_it_is_over(tmp_path):
    with searching(tmp_path) as search:
        while assignment := search.ask("0"):
            assert not search.is_over
            search.tell(assignment.id, done(0.5))
        assert search.is_over
        values = {json.dumps(record.values) for record in search.records()}
        assert len(values) == len(search.records()) == 6


def test_trials_under_way_keep_it_from_being_over(tmp_path):
    with searching(tmp_path, max_trials=1) as search:
        assignment = search.ask("0")
        assert search.ask("1") is None and not search.is_over
        search.tell(assignment.id, done(0.5))
        assert search.is_over


def test_what_ended_stays_and_what_was_under_way_is_given_out_again_first(tmp_path):
    with searching(tmp_path) as search:
        first, second, third = (search.ask(str(place)) for place in range(3))
        search.tell(second.id, done(0.7, seconds=3.0))
        search.give_back(third.id, 4.0)
    with searching(tmp_path) as search:
        assert statuses(search) == [RUNNING, COMPLETED, RUNNING]
        assert [search.ask("a").id, search.ask("b").id] == [first.id, third.id]
        fourth = search.ask("c")
        assert fourth.id not in (first.id, second.id, third.id)
        search.tell(third.id, done(0.8, seconds=1.5))
        assert search.records()[2].seconds == 5.5, "what it had cost before counts"


@pytest.mark.parametrize("cut", range(13))
def test_cut_off_anywhere_it_ends_with_the_same_trials(tmp_path, cut):
    def run(folder, calls):
        with searching(folder) as search:
            while calls and (assignment := search.ask("0")):
                calls -= 1
                if calls:
                    search.tell(assignment.id, done(hash(str(assignment.config)) % 97 / 97))
                    calls -= 1
            return [(one.id, one.values, one.status, one.objective) for one in search.records()]

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", 100)
    run(tmp_path / "cut", cut)
    assert run(tmp_path / "cut", 100) == whole


def test_a_bad_combination_is_a_trial_that_failed_and_the_next_is_given_out(tmp_path):
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


def test_a_bad_combination_that_a_kill_left_unended_fails_when_the_sweep_goes_on(tmp_path):
    def refusing(suggestion):
        raise ConfigError("`x` is bad. Received: 1; leave it out.")

    with searching(tmp_path, max_trials=1) as search:
        search.ask("0")
    with searching(tmp_path, refusing, max_trials=1) as search:
        assert search.ask("0") is None and search.is_over
        assert statuses(search) == [FAILED]


def test_a_trial_without_the_figure_that_is_sought_has_failed(tmp_path):
    with searching(tmp_path) as search:
        search.tell(search.ask("0").id, Outcome(COMPLETED, {"test_loss": 1.0}))
        (record,) = search.records()
        assert (record.status, record.error) == (FAILED, "the run told no test_accuracy")
        assert search.best() is None


def test_a_hopeless_trial_is_noticed_also_after_the_sweep_was_resumed(tmp_path):
    with searching(tmp_path, early_stop="median") as search:
        for _ in range(5):
            trial_id = search.ask("0").id
            assert not search.note(trial_id, Progress(24, 1.0, {"test_accuracy": 0.8}))
            search.tell(trial_id, done(0.9))
    with searching(tmp_path, early_stop="median") as search:
        trial_id = search.ask("0").id
        assert search.note(trial_id, Progress(24, 1.0, {"test_accuracy": 0.7}))
        search.tell(trial_id, Outcome(STOPPED, {"test_accuracy": 0.7}, 24, 1.0))
        assert search.records()[-1].objective == 0.7
        assert search.best().objective == 0.9, "one that was stopped is not the best"


def test_progress_shows_in_the_records(tmp_path):
    with searching(tmp_path) as search:
        trial_id = search.ask("tuner0/1").id
        search.note(trial_id, Progress(48, 2.0, {"test_accuracy": 0.6, "final_loss": 0.3}))
        (record,) = search.records()
        assert (record.step, record.epoch, record.objective) == (48, 2.0, 0.6)
        assert (record.status, record.runner) == (RUNNING, "tuner0/1")


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "ended", "id": "0007"}',
        '{"event": "asked", "id": "0000"}',
        '{"event": "burnt"}',
        '{"event": "interrupted", "id": "0000", "seconds": 1}',
    ],
)
def test_a_ledger_that_makes_no_sense_is_refused(tmp_path, line):
    with searching(tmp_path):
        pass
    with open(tmp_path / "ledger.jsonl", "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(InputError, match="damaged sweep"), searching(tmp_path):
        pass


def test_trials_that_the_oracle_would_not_give_are_refused(tmp_path):
    with searching(tmp_path) as search:
        search.ask("0")
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().replace("0.001", "0.002"))
    with pytest.raises(InputError, match="another version of keras-tuner"), searching(tmp_path):
        pass
