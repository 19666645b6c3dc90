"""Are a trial's progress, outcome and error read correctly from its folder?"""

import dataclasses
import json
import os

import pytest

from trainer.config.load import resolve
from trainer.config.schema import ExperimentConfig, TrainConfig
from trainer.storage.atomic_files import WorkdirError
from trainer.tune.search.record import COMPLETED
from trainer.tune.trials.folder import TrialFolder

CONFIG = resolve("digits_dense")


def event(kind, step, **values):
    return (
        json.dumps({"event": kind, "step": step, "epoch": step / 10, "time": 1.0, **values}) + "\n"
    )


@pytest.fixture
def folder(tmp_path):
    folder = TrialFolder(tmp_path / "trials", "0003")
    folder.prepare(CONFIG, "")
    return folder


def test_prepare_writes_the_config_and_keeps_the_checkpoints(folder):
    assert resolve(str(folder.workdir.config)) == CONFIG
    (folder.path / "checkpoints").mkdir()
    longer = dataclasses.replace(CONFIG, train=TrainConfig(epochs=7))
    folder.prepare(longer, "")
    assert (folder.path / "checkpoints").is_dir()
    assert resolve(str(folder.workdir.config)) == longer


def test_progress_is_read_once_under_the_names_of_the_summary(folder):
    assert list(folder.read_progress()) == []
    with open(folder.workdir.metrics, "w") as file:
        file.write(event("train", 10, loss=0.5, accuracy=0.8, examples_per_s=100.0))
        file.write(event("eval", 10, loss=0.4, accuracy=0.9) + '{"event": "tra')
    train, evaluated = folder.read_progress()
    assert train.metrics == {"final_loss": 0.5, "examples_per_s": 100.0}
    assert (evaluated.step, evaluated.epoch) == (10, 1.0)
    assert evaluated.metrics == {**train.metrics, "test_loss": 0.4, "test_accuracy": 0.9}
    assert list(folder.read_progress()) == []


def test_metrics_that_a_resumed_run_truncated_are_read_again(folder):
    lines = [event("eval", step, loss=1.0, accuracy=step / 100) for step in (10, 20, 30)]
    folder.workdir.metrics.write_text("".join(lines))
    assert len(list(folder.read_progress())) == 3
    folder.workdir.metrics.write_text(lines[0])
    assert [progress.step for progress in folder.read_progress()] == [10]
    folder.workdir.metrics.write_text(lines[0] + lines[1])
    assert [progress.step for progress in folder.read_progress()] == [20]


def test_a_metric_without_a_value_is_omitted(folder):
    folder.workdir.metrics.write_text(event("eval", 10, loss=None, accuracy=0.5))
    assert next(folder.read_progress()).metrics == {"test_accuracy": 0.5}


def test_a_complete_summary_is_an_outcome_and_an_incomplete_one_is_not(folder):
    assert folder.completed(1.0) is None
    summary = {"steps": 480, "epochs": 20.0, "test_accuracy": 0.97, "config": "digits", "x": None}
    folder.workdir.summary.write_text(json.dumps(summary))
    outcome = folder.completed(2.5)
    assert (outcome.status, outcome.step, outcome.epoch) == (COMPLETED, 480, 20.0)
    assert (outcome.metrics["test_accuracy"], outcome.seconds) == (0.97, 2.5)
    assert "x" not in outcome.metrics
    folder.workdir.summary.write_text(json.dumps(summary)[:20])
    assert folder.completed(2.5) is None


@pytest.mark.parametrize(
    "log, words",
    [
        ("line\nmuster: error: `x` is bad.\n", "`x` is bad."),
        ("muster: error: first\nafter\n", "first"),
        ("[worker 0] muster: error: no\nlaunch: worker 0 failed: no\n", "launch: worker 0 failed: no"),
        ("Traceback\n  File\nValueError: no\n\n", "ValueError: no"),
        ("", ""),
    ],
)  # fmt: skip
def test_its_last_words_are_the_error_that_it_told_or_the_last_line(folder, log, words):
    folder.log.write_text(log)
    assert folder.last_words() == words


def test_a_longer_run_starts_with_the_checkpoints_of_the_shorter(tmp_path):
    trials = tmp_path / "trials"
    shorter = TrialFolder(trials, "0001")
    shorter.prepare(CONFIG, "")
    arrays = shorter.workdir.checkpoints / "step-0000000024" / "arrays.npz"
    arrays.parent.mkdir(parents=True)
    arrays.write_bytes(b"weights")
    shorter.workdir.metrics.write_text(event("eval", 24, loss=1.0))
    shorter.workdir.summary.write_text('{"steps": 24, "epochs": 1.0}')

    longer_run = TrialFolder(trials, "0004")
    longer_run.prepare(dataclasses.replace(CONFIG, train=TrainConfig(epochs=3)), "0001")
    copied = longer_run.workdir.checkpoints / "step-0000000024" / "arrays.npz"
    assert copied.read_bytes() == b"weights"
    assert longer_run.workdir.metrics.read_bytes() == shorter.workdir.metrics.read_bytes()
    assert longer_run.completed(0.0) is None, "the shorter run's end is not the longer one's"
    with open(longer_run.workdir.metrics, "a") as file:
        file.write("more")
    assert "more" not in shorter.workdir.metrics.read_text()


def test_without_the_shorter_run_the_longer_starts_from_nothing(tmp_path):
    longer_run = TrialFolder(tmp_path / "trials", "0004")
    longer_run.prepare(ExperimentConfig(name="x"), "0001")
    assert os.listdir(longer_run.path) == ["config.json"]


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "trials").write_text("a file")
    with pytest.raises(WorkdirError, match="cannot be written"):
        TrialFolder(tmp_path / "trials", "0").prepare(CONFIG, "")
