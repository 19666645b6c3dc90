"""Does a run whose workdir is in a bucket go on anywhere, to the weights of one in a folder?"""

import json
import os
import re
import signal

import pytest

from strategies.cluster.spec import Task
from tests.bucket_server import BUCKET
from tests.cluster import cluster
from tests.cluster.cluster import Process, Run

FOLDER = "runs/one"
URL = f"gs://{BUCKET}/{FOLDER}"
STEPS = 480
FLAGS = (f"--config.train.steps={STEPS}", "--config.train.eval_every_epochs=20")


@pytest.fixture
def machine(bucket, monkeypatch, tmp_path):
    """A call `machine(name)` has processes start on another machine: with another TMPDIR."""

    def move(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))

    move("first")
    return move


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """The run in a folder, which nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    return cluster.finished(cluster.training(folder, *FLAGS), folder)


def _ended(process: Process, bucket, to) -> Run:
    """What is in the bucket after a process that ends with exit code 0."""
    with process:
        assert process.wait() == 0, process.said
    return Run(bucket.copy(FOLDER, to), process.said)


def _assert_is(run: Run, whole: Run) -> None:
    assert run.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert run.checkpoint_steps == whole.checkpoint_steps
    steps = [json.loads(line)["step"] for line in _lines(run)]
    assert steps == [json.loads(line)["step"] for line in _lines(whole)]


def _lines(run: Run) -> list[str]:
    return (run.workdir / "metrics.jsonl").read_text().splitlines()


def test_a_run_that_is_stopped_goes_on_on_another_machine_to_the_same_weights(
    bucket, machine, whole, tmp_path
):
    with cluster.training(URL, *FLAGS) as process:
        process.await_line("epoch   3.00")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    step = int(re.search(r"stopped at step (\d+)", process.said)[1])
    assert f"checkpoints/step-{step:010d}/manifest.json" in bucket.names(FOLDER)
    machine("second")
    run = _ended(cluster.training(URL, *FLAGS), bucket, tmp_path / "copy")
    assert f"resuming at step {step}" in run.screen
    _assert_is(run, whole)


@pytest.mark.long
def test_a_worker_that_is_killed_is_started_again_by_launch(bucket, machine, whole, tmp_path):
    """By the bucket's checkpoints, which launch finds on this machine."""
    process = cluster.launching(URL, *FLAGS, "--config.train.checkpoint_every_steps=10")
    with process:
        process.await_line("epoch   2.00")
        os.kill(cluster.pid_of(process, Task("worker", 0)), signal.SIGKILL)
        assert re.search(r"from the checkpoint of step \d", process.await_line("restart 1 of 3"))
        assert process.wait() == 0, process.said
    run = Run(bucket.copy(FOLDER, tmp_path / "copy"))
    assert run.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert run.summary["num_replicas"] == 2


@pytest.mark.long  # bucket_workdir_test.py has it within a process.
def test_a_bucket_that_fails_stops_no_run_and_is_brought_up_to_date_by_the_next(
    bucket, machine, whole, tmp_path, monkeypatch
):
    with cluster.training(URL, *FLAGS, "--stop_grace_s=3") as process:
        process.await_line("epoch   2.00")
        bucket.status = 403
        process.await_line("done |")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    assert "Training continues, and the upload is retried" in process.said
    assert "summary.json" not in bucket.names(FOLDER)
    bucket.status = 0
    _assert_is(_ended(cluster.training(URL, *FLAGS), bucket, tmp_path / "copy"), whole)


def test_a_sweep_goes_on_on_another_machine_with_the_trials_that_it_has(bucket, machine, tmp_path):
    flags = ("--config=digits_dense", "--config.train.epochs=1", "--tuner=grid")
    rates = "--space.optimizer.learning_rate=0.0001|0.001|0.01"
    args = [*cluster.TRAINER, "tune", f"--workdir={URL}", *flags, rates]
    with Process(args) as process:
        process.await_line("trial 0000 completed")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    machine("second")
    run = _ended(Process(args), bucket, tmp_path / "copy")
    trials = json.loads((run.workdir / "trials.json").read_text())
    assert [one["status"] for one in trials] == ["completed"] * 3
    assert "trial 0002 completed" in run.screen and "trial 0000 completed" not in run.screen
    for one in trials:
        summary = json.loads((run.workdir / "trials" / one["id"] / "summary.json").read_text())
        assert summary["test_accuracy"] == one["objective"]


@pytest.mark.long
def test_an_evaluator_elsewhere_follows_the_bucket(bucket, machine, whole, tmp_path):
    processes = []
    for name, spec in zip(
        ["first", "second"], cluster.clusters(worker=1, evaluator=1), strict=True
    ):
        machine(name)
        processes.append(cluster.task(spec, URL, *FLAGS))
    with processes[0] as trainer, processes[1] as evaluator:
        assert (trainer.wait(), evaluator.wait()) == (0, 0), trainer.said + evaluator.said
    run = Run(bucket.copy(FOLDER, tmp_path / "copy"))
    last = (run.workdir / "evaluator.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["loss"] == run.summary["test_loss"] == whole.summary["test_loss"]
