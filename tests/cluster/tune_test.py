"""Does a sweep on this machine find the best values, also if trials fail or it is killed?

Trials are real runs on the digits dataset, of one epoch in tests that only need their number.
"""

import json
import pathlib
import re
import signal

import pytest

from tests.cluster import cluster, held
from tests.cluster.cluster import Process

ONE_EPOCH = ("--config=digits_dense", "--config.train.epochs=1")
RATES = "--space.optimizer.learning_rate=0.0001|0.001|0.01"


def tuning(workdir: pathlib.Path, *flags: str, environ=None) -> Process:
    return Process([*cluster.TRAINER, "tune", f"--workdir={workdir}", *flags], environ)


def tuned(workdir: pathlib.Path, *flags: str, code: int = 0) -> list[dict]:
    """Runs a sweep to its end and returns its trials."""
    with tuning(workdir, *flags) as process:
        assert process.wait() == code, process.said
    return trials(workdir)


def trials(workdir: pathlib.Path) -> list[dict]:
    return json.loads((workdir / "trials.json").read_text())


def outcomes(workdir: pathlib.Path) -> set:
    """The values, status, objective and weights of each trial."""
    return {
        (json.dumps(one["values"]), one["status"], one["objective"], weights(workdir, one["id"]))
        for one in trials(workdir)
    }


def weights(workdir: pathlib.Path, trial_id: str) -> str:
    path = workdir / "trials" / trial_id / "summary.json"
    return json.loads(path.read_text())["weights_sha256"] if path.exists() else ""


def test_parallel_trials_give_the_same_results_as_serial_ones(tmp_path):
    flags = (*ONE_EPOCH, "--tuner=grid", RATES)
    tuned(tmp_path / "serial", *flags)
    tuned(tmp_path / "parallel", *flags, "--parallel_trials=2")
    assert outcomes(tmp_path / "serial") == outcomes(tmp_path / "parallel")
    found = trials(tmp_path / "serial")
    assert [one["status"] for one in found] == ["completed"] * 3

    best = max(found, key=lambda one: one["objective"])
    config = tmp_path / "serial" / "best_config.json"
    again = cluster.finished(
        Process([*cluster.TRAINER, f"--config={config}", f"--workdir={tmp_path / 'again'}"]),
        tmp_path / "again",
    )
    assert again.summary["test_accuracy"] == best["objective"]
    assert again.summary["weights_sha256"] == weights(tmp_path / "serial", best["id"])
    for plot in ("objective_over_trials", "parallel_coordinates", "slices"):
        assert (tmp_path / "serial" / "plots" / f"{plot}.png").stat().st_size > 1000


def test_a_failed_trial_is_recorded_and_the_search_continues(tmp_path):
    """A loss that overflows, a layer that does not fit into memory, and an invalid combination."""
    space = {
        "optimizer.name": {"choices": ["adam", "sgd"]},
        "optimizer.momentum": {"choices": [0.0, 0.5]},
        "optimizer.learning_rate": {"choices": [0.01, 9e5], "when": {"optimizer.name": ["sgd"]}},
        "model.hidden_units": {
            "choices": [[16], [2 * 10**9]],
            "when": {"optimizer.name": ["adam"]},
        },
    }
    (tmp_path / "space.json").write_text(json.dumps(space))
    found = tuned(
        tmp_path / "sweep",
        "--config=linear_100",
        "--config.train.steps=100",
        f"--space={tmp_path / 'space.json'}",
        "--tuner=grid",
        "--parallel_trials=2",
        "--max_restarts=0",
    )
    errors = {}
    for one in found:
        errors[tuple(map(str, one["values"].values()))] = one["error"]
    assert len(errors) == len(found) == 8
    completed = [key for key, error in errors.items() if not error]
    assert sorted(completed) == [
        ("adam", "0.0", "16"),
        ("sgd", "0.0", "0.01"),
        ("sgd", "0.5", "0.01"),
    ]
    for units in ("16", "2000000000"):
        assert "`optimizer.momentum` must be 0 for adam" in errors["adam", "0.5", units]
    for momentum in ("0.0", "0.5"):
        assert "the loss" in errors["sgd", momentum, "900000.0"]
    assert errors["adam", "0.0", "2000000000"].startswith("memory ran out. Received: OOM when")


def test_hyperband_resumes_the_best_run(tmp_path):
    found = tuned(
        tmp_path / "sweep",
        "--config=digits_dense",
        "--tuner=hyperband",
        "--max_epochs=4",
        "--factor=2",
        "--space.optimizer.learning_rate=1e-4..1e-1:log",
        "--parallel_trials=2",
    )
    longest = [one for one in found if one["continues"] and one["epochs"] == 4]
    assert longest
    workdir = tmp_path / "sweep" / "trials" / longest[0]["id"]
    log = (workdir / "log.txt").read_text()
    assert "resuming at step 48" in log, "its first two epochs are those of another trial"
    uninterrupted = cluster.finished(
        cluster.training(tmp_path / "uninterrupted", f"--config={workdir / 'config.json'}"),
        tmp_path / "uninterrupted",
    )
    summary = json.loads((workdir / "summary.json").read_text())
    assert uninterrupted.summary["weights_sha256"] == summary["weights_sha256"]
    assert uninterrupted.summary["steps"] == 96


@pytest.mark.long
def test_parallel_trials_can_be_clusters_of_any_strategy(tmp_path):
    found = tuned(
        tmp_path / "sweep",
        *ONE_EPOCH,
        "--tuner=grid",
        "--space.ps=0|1",
        "--parallel_trials=2",
        "--workers_per_trial=2",
    )
    assert [one["status"] for one in found] == ["completed"] * 2, found
    strategies = {}
    for one in found:
        path = tmp_path / "sweep" / "trials" / one["id"] / "summary.json"
        strategies[one["values"]["--ps"]] = json.loads(path.read_text())["strategy"]
    assert strategies == {0: "multi_worker", 1: "parameter_server"}


@pytest.mark.long
def test_a_search_on_mnist_finds_the_learning_rate_that_learns(tmp_path, prepared_mnist):
    found = tuned(
        tmp_path,
        "--config=mnist_dense",
        f"--config.data.dir={prepared_mnist}",
        "--config.train.steps=300",
        "--tuner=grid",
        "--space.optimizer.learning_rate=1e-6|1e-3",
    )
    rates = {one["values"]["optimizer.learning_rate"]: one["objective"] for one in found}
    assert rates[1e-3] > 0.85 > 0.6 > rates[1e-6]
    assert (
        json.loads((tmp_path / "best_config.json").read_text())["optimizer"]["learning_rate"]
        == 1e-3
    )


def test_an_invalid_space_is_reported_on_one_line_before_anything_starts(tmp_path):
    with tuning(tmp_path / "sweep", "--space.optimizer.learning_rat=1e-4..1e-2") as process:
        assert process.wait() == 2
    assert process.error == (
        '`tune` has no such flag. Received: "--space.optimizer.learning_rat"; did you mean '
        "`--space.optimizer.learning_rate`?"
    )
    assert not (tmp_path / "sweep").exists()


# bucket_test.py stops a sweep by SIGTERM in every session.
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL]
)
def test_a_stopped_or_killed_sweep_resumes(tmp_path, number):
    flags = (
        "--config=digits_dense",
        "--config.train.epochs=40",
        "--config.train.steps_per_loop=2",
        "--tuner=grid",
        RATES,
        "--parallel_trials=2",
    )
    with held.before(epoch=20, only="trials/0002"), tuning(tmp_path, *flags) as process:
        process.await_line("completed")
        started = cluster.descendants(process.pid)
        process.send(number)
        assert process.wait() == (75 if number == signal.SIGTERM else -number)
        cluster.await_end_of(started)
    before = trials(tmp_path)
    tuned(tmp_path, *flags)
    after = trials(tmp_path)
    ended = [one for one in before if one["status"] == "completed"]
    for one in [*ended, *after]:
        del one["best"]  # Another trial may be better now.
    assert ended and ended == [one for one in after if one in ended]
    assert [one["status"] for one in after] == ["completed"] * 3
    starts = [re.findall("workdir .*", (tmp_path / "trials" / one["id"] / "log.txt").read_text())
             for one in ended]  # fmt: skip
    assert {len(one) for one in starts} == {1}, "no trial that had ended ran again"
