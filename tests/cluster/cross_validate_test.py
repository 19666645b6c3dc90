"""Does a cross-validation end with the same figures if it is killed, and can a sweep optimize them?"""

import json
import re
import signal

import numpy as np
import pytest

from tests.cluster import cluster, held, own_models
from tests.cluster.cluster import Process

FLAGS = [
    "--config=digits_dense", "--config.data.train_examples=300", "--folds=3", "--stratified",
    "--parallel_trials=2",
]  # fmt: skip


def _started(workdir, *flags):
    command = [*cluster.TRAINER, "cross_validate", f"--workdir={workdir}", *FLAGS]
    return Process(
        [*command, "--config.train.epochs=20", "--config.train.steps_per_loop=1", *flags]
    )


def _finished(workdir, *flags):
    with _started(workdir, *flags) as process:
        assert process.wait() == 0, process.said
    return process, json.loads((workdir / "cross_validation.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cv") / "workdir"
    return workdir, *_finished(workdir)


def _hashes(workdir):
    runs = sorted((workdir / "trials").rglob("summary.json"))
    return [json.loads(path.read_text())["weights_sha256"] for path in runs]


def test_a_killed_cross_validation_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    workdir, _, expected = undisturbed
    with held.before(epoch=10, only="trials/0002"), _started(tmp_path) as process:
        process.await_line("completed")
        started = cluster.descendants(process.pid)
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        cluster.await_end_of(started)
    assert not (tmp_path / "cross_validation.json").exists()
    process, found = _finished(tmp_path)
    assert "resuming after" in process.said
    assert found == expected and _hashes(tmp_path) == _hashes(workdir)
    assert (tmp_path / "plots" / "folds.png").stat().st_size > 1000


def test_it_reports_each_fold_their_mean_and_spread(undisturbed):
    workdir, process, found = undisturbed
    accuracies = found["metrics"]["accuracy"]
    assert accuracies["mean"] == np.mean(accuracies["folds"])
    assert accuracies["std"] == pytest.approx(np.std(accuracies["folds"], ddof=1))
    assert 0.6 < accuracies["mean"] < 1 and len({*_hashes(workdir)}) == 3
    lines = [line.split() for line in process.screen]
    assert ["fold", "accuracy", "loss", "steps", "time"] in lines
    for name in ("mean", "spread"):
        assert any(line[:1] == [name] for line in lines)
    quiet, _ = _finished(workdir, "--quiet")
    assert [line.split()[0] for line in quiet.screen] == ["fold", "0", "1", "2", "mean", "spread"]
    again = Process([*cluster.TRAINER, "evaluate", f"--workdir={workdir / found['runs'][0]}"])
    with again:
        assert again.wait() == 0, again.said
    assert cluster.printed_json(again)["accuracy"] == accuracies["folds"][0]


def test_a_sweep_optimizes_the_mean_of_the_same_folds(undisturbed, tmp_path):
    workdir, _, expected = undisturbed
    command = [*cluster.TRAINER, "tune", f"--workdir={tmp_path}", *FLAGS, "--tuner=grid"]
    command += ["--objective=cv_accuracy", "--space.train.epochs=1|20"]
    with Process(command) as process:
        assert process.wait() == 0, process.said
    short, long = json.loads((tmp_path / "trials.json").read_text())
    assert long["objective"] == pytest.approx(expected["metrics"]["accuracy"]["mean"], abs=1e-12)
    assert long["metrics"]["cv_accuracy_std"] > 0 and short["objective"] < long["objective"]
    best = json.loads((tmp_path / "best_config.json").read_text())
    assert (best["train"]["epochs"], best["data"]["folds"]) == (20, 0)
    assert _hashes(tmp_path)[3:] == _hashes(workdir)
    assert re.search("trial 0001 completed, cv_accuracy", process.said)


@pytest.mark.parametrize(
    "verb, flags, message",
    [
        ("cross_validate", ["--folds=1"], "`--folds` must be at least 2. Received: 1; try 5."),
        ("cross_validate", ["--folds=301", "--max_restarts=0", "--parallel_trials=1"],
         "fold 0 failed, so there is no mean: `data.folds` must be at most the number of training "
         "examples, which is 300. Received: 301"),
        ("cross_validate", ["--config.data.fold=1"], "`--config.data.fold` must be left out, as each run "
         'gets its own fold. Received: "1"'),
        ("tune", ["--objective=cv_loss", "--folds=0", "--nostratified", "--space.train.seed=1|2"],
         "`--folds` must be at least 2 with --objective=cv_loss. Received: 0; try --folds=5."),
        ("tune", ["--objective=test_loss", "--space.train.seed=1|2"],
         "`--objective` must be cv_accuracy, cv_loss or cv_mean_absolute_error with --folds. Received: "),
        ("tune", ["--space.data.fold=0|1"], "must be at least 2 with `data.fold`=1"),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused_in_one_line(verb, flags, message, tmp_path):
    with Process([*cluster.TRAINER, verb, f"--workdir={tmp_path}", *FLAGS, *flags]) as process:
        assert process.wait() == 2, process.said
    assert message in process.error


BALANCE = [
    "--config.data.train_examples=106", "--config.data.global_batch_size=48",
    "--config.train.epochs=2", "--config.model.hidden_units=16", "--config.data.folds=0",
    "--config.data.class_weights=balanced", "--config.data.resample=balanced",
    "--config.train.focal_gamma=1.5", "--config.data.augment=mixup,crop,rotate,flip,shift,cutout:5",
]  # fmt: skip


def test_weighted_resampled_and_augmented_runs_have_the_same_bits_in_every_layout(tmp_path):
    single = cluster.finished(cluster.training(tmp_path / "1", *BALANCE), tmp_path / "1")
    workers = cluster.finished(cluster.launching(tmp_path / "2", *BALANCE), tmp_path / "2")
    resumed = own_models.killed_and_resumed(tmp_path / "killed", BALANCE)
    own_models.assert_same_bits(workers, single)
    own_models.assert_same_bits(resumed, single)
