"""Does a run in a bucket resume on any machine, to the weights of a run in a local folder?"""

import json
import os
import re
import signal

import pytest

from strategies.cluster.spec import Task
from tests.buckets import servers
from tests.cluster import cluster, held
from tests.cluster.cluster import Process, Run

FOLDER = "runs/one"
STEPS = 480
FLAGS = (f"--config.train.steps={STEPS}", "--config.train.eval_every_epochs=20")


@pytest.fixture
def machine(bucket, monkeypatch, tmp_path):
    """`machine(name)` simulates that processes start on another machine: with another TMPDIR."""

    def move(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))

    move("first")
    return move


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Run:
    """The same run in a local folder, without interruptions."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return cluster.finished(cluster.training(folder, *FLAGS), folder)


def _url(bucket) -> str:
    return f"{bucket.folder_url}/{FOLDER}"


def _finished(process: Process, bucket, to) -> Run:
    """The run in the bucket after the process has exited with 0."""
    with process:
        assert process.wait() == 0, process.said
    return Run(bucket.copy(FOLDER, to), process.said)


def _assert_equal(run: Run, uninterrupted: Run) -> None:
    assert run.summary["weights_sha256"] == uninterrupted.summary["weights_sha256"]
    assert run.checkpoint_steps == uninterrupted.checkpoint_steps
    steps = [json.loads(line)["step"] for line in _lines(run)]
    assert steps == [json.loads(line)["step"] for line in _lines(uninterrupted)]


def _lines(run: Run) -> list[str]:
    return (run.workdir / "metrics.jsonl").read_text().splitlines()


ON_GOOGLE_AND_S3 = pytest.mark.parametrize("bucket", ["gs", "s3"], indirect=True)
EVERY_KIND = pytest.mark.parametrize("bucket", servers.KINDS, indirect=True)


@EVERY_KIND
def test_a_stopped_run_resumes_on_another_machine_to_the_same_weights(
    bucket, machine, uninterrupted, tmp_path
):
    with held.before(epoch=10), cluster.training(_url(bucket), *FLAGS) as process:
        process.await_line("epoch   3.00")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    step = int(re.search(r"stopped at step (\d+)", process.said)[1])
    assert f"checkpoints/step-{step:010d}/manifest.json" in bucket.names(FOLDER)
    machine("second")
    run = _finished(cluster.training(_url(bucket), *FLAGS), bucket, tmp_path / "copy")
    assert f"resuming at step {step}" in run.screen
    _assert_equal(run, uninterrupted)


@pytest.mark.long
@ON_GOOGLE_AND_S3
def test_launch_restarts_a_killed_worker(bucket, machine, uninterrupted, tmp_path):
    """launch finds the checkpoints in the local copy."""
    flags = (*FLAGS, "--config.train.checkpoint_every_steps=10")
    with held.before(epoch=8) as hold, cluster.launching(_url(bucket), *flags) as process:
        process.await_line("epoch   2.00")
        os.kill(cluster.pid_of(process, Task("worker", 0)), signal.SIGKILL)
        hold.release()
        assert re.search(r"from the checkpoint of step \d", process.await_line("restart 1 of 3"))
        assert process.wait() == 0, process.said
    run = Run(bucket.copy(FOLDER, tmp_path / "copy"))
    assert run.summary["weights_sha256"] == uninterrupted.summary["weights_sha256"]
    assert run.summary["num_replicas"] == 2


@pytest.mark.long  # A unit test of the workdir does this in one process.
def test_an_unavailable_bucket_does_not_stop_a_run_and_the_next_run_updates_it(
    bucket, machine, uninterrupted, tmp_path, monkeypatch
):
    with cluster.training(_url(bucket), *FLAGS, "--stop_grace_s=3") as process:
        process.await_line("epoch   2.00")
        bucket.status = 403
        process.await_line("done |")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    assert "Training continues, and the upload is retried" in process.said
    assert "summary.json" not in bucket.names(FOLDER)
    bucket.status = 0
    _assert_equal(
        _finished(cluster.training(_url(bucket), *FLAGS), bucket, tmp_path / "copy"), uninterrupted
    )


@pytest.mark.parametrize(
    "bucket", ["s3", pytest.param("gs", marks=pytest.mark.long)], indirect=True
)
def test_a_sweep_resumes_on_another_machine_and_keeps_its_completed_trials(
    bucket, machine, tmp_path
):
    flags = ("--config=digits_dense", "--config.train.epochs=1", "--tuner=grid")
    rates = "--space.optimizer.learning_rate=0.0001|0.001|0.01"
    args = [*cluster.TRAINER, "tune", f"--workdir={_url(bucket)}", *flags, rates]
    with held.before(epoch=0, only="trials/0001"), Process(args) as process:
        process.await_line("trial 0000 completed")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    machine("second")
    run = _finished(Process(args), bucket, tmp_path / "copy")
    trials = json.loads((run.workdir / "trials.json").read_text())
    assert [one["status"] for one in trials] == ["completed"] * 3
    assert "trial 0002 completed" in run.screen and "trial 0000 completed" not in run.screen
    for one in trials:
        summary = json.loads((run.workdir / "trials" / one["id"] / "summary.json").read_text())
        assert summary["test_accuracy"] == one["objective"]


@pytest.mark.long
@ON_GOOGLE_AND_S3
def test_an_evaluator_on_another_machine_reads_the_bucket(bucket, machine, uninterrupted, tmp_path):
    processes = []
    for name, spec in zip(
        ["first", "second"], cluster.clusters(worker=1, evaluator=1), strict=True
    ):
        machine(name)
        processes.append(cluster.task(spec, _url(bucket), *FLAGS))
    with processes[0] as trainer, processes[1] as evaluator:
        assert (trainer.wait(), evaluator.wait()) == (0, 0), trainer.said + evaluator.said
    run = Run(bucket.copy(FOLDER, tmp_path / "copy"))
    last = (run.workdir / "evaluator.jsonl").read_text().splitlines()[-1]
    assert (
        json.loads(last)["loss"] == run.summary["test_loss"] == uninterrupted.summary["test_loss"]
    )
