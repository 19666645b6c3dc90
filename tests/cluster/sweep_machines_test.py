"""Does a sweep across machines keep its trials if a client dies? The machines are processes here."""

import json
import os
import pathlib
import signal
import time

import pytest

from tests.cluster import cluster, held
from tests.cluster.cluster import Process
from trainer.launch import ports

NUM_TRIALS = 3
FLAGS = (
    "--config=digits_dense",
    "--config.train.epochs=80",
    "--config.train.steps_per_loop=2",
    "--config.train.checkpoint_every_steps=24",
    "--tuner=random",
    f"--max_trials={NUM_TRIALS}",
    "--space.optimizer.learning_rate=1e-4..1e-2:log",
    "--peer_timeout_s=10",
)


def by_keras_tuner(name: str, port: int, *flags: str) -> Process:
    """The server of a sweep, named chief, or a client, with keras-tuner's variables."""
    environ = {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "MUSTER_SECRET": "the secret of this sweep",
    }
    return Process([*cluster.TRAINER, "tune", *FLAGS, *flags], environ)


def by_slurm(index: int, port: int, *flags: str) -> Process:
    """A task of a Slurm step of two tasks. The step's job id is `port`, so it has its own ports."""
    environ = {
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }
    return Process([*cluster.TRAINER, "tune", *FLAGS, *flags], environ)


def by_flags(index: int, port: int, *flags: str) -> Process:
    own = (f"--cluster=127.0.0.1:{port},192.0.2.1:1", f"--task=worker:{index}")
    return Process([*cluster.TRAINER, "tune", *FLAGS, *own, *flags])


def _await_checkpoints(workdir: pathlib.Path, num_trials: int) -> None:
    deadline = time.monotonic() + cluster.PATIENCE_S
    while (
        len({path.parts[-3] for path in workdir.glob("trials/*/checkpoints/step-*")}) < num_trials
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_trial_of_a_killed_client_resumes_on_another(tmp_path):
    (port,) = ports.free_ports(1)
    shared = f"--workdir={tmp_path}"
    with (
        held.before(epoch=40) as hold,
        by_keras_tuner("chief", port, shared) as server,
        by_keras_tuner("first", port, shared) as first,
        by_keras_tuner("second", port, shared) as second,
    ):
        server.await_line("client first at 127.0.0.1 connected")
        server.await_line("client second at 127.0.0.1 connected")
        _await_checkpoints(tmp_path, 2)
        for pid in [*cluster.descendants(first.pid), first.pid]:  # As if its machine died.
            os.kill(pid, signal.SIGKILL)
        lost = server.await_line("client first at 127.0.0.1 was lost")
        hold.release()
        assert "is requeued" in lost
        trial = lost.split("trial ")[1].split()[0]
        assert second.wait() == 0, second.said
        assert server.wait() == 0, server.said
    found = json.loads((tmp_path / "trials.json").read_text())
    assert [one["status"] for one in found] == ["completed"] * NUM_TRIALS
    assert "resuming at step" in (tmp_path / "trials" / trial / "log.txt").read_text()
    config = json.loads((tmp_path / "best_config.json").read_text())
    best = max(found, key=lambda one: one["objective"])
    assert config["optimizer"]["learning_rate"] == best["values"]["optimizer.learning_rate"]


@pytest.mark.parametrize("task", [by_slurm, pytest.param(by_flags, marks=pytest.mark.long)])
def test_worker_0_serves_the_sweep_and_resumes_the_trial_of_a_killed_worker(task, tmp_path):
    (port,) = ports.free_ports(1)
    shared = f"--workdir={tmp_path}", "--max_trials=2", "--config.train.epochs=40"
    with (
        held.before(epoch=20) as hold,
        task(0, port, *shared) as first,
        task(1, port, *shared) as second,
    ):
        first.await_line("client worker-1 at 127.0.0.1 connected")
        _await_checkpoints(tmp_path, 2)
        for pid in [*cluster.descendants(second.pid), second.pid]:
            os.kill(pid, signal.SIGKILL)
        lost = first.await_line("worker-1 at 127.0.0.1 was lost")
        hold.release()
        trial = lost.split("trial ")[1].split()[0]
        assert first.wait() == 0, first.said
    found = json.loads((tmp_path / "trials.json").read_text())
    assert [one["status"] for one in found] == ["completed"] * 2
    log = (tmp_path / "trials" / trial / "log.txt").read_text()
    assert "resuming at step" in log and "single task, no cluster in TF_CONFIG" in log


def test_a_client_with_other_settings_is_refused_and_the_setting_named(tmp_path):
    (port,) = ports.free_ports(1)
    with (
        by_keras_tuner("chief", port, f"--workdir={tmp_path / 'server'}") as server,
        by_keras_tuner("client", port, f"--workdir={tmp_path / 'client'}", "--seed=5") as client,
    ):
        assert client.wait() == 2
        assert client.error.startswith("`seed` must be the same on every task. Received: ")
        assert client.error in server.await_line("was refused")


@pytest.mark.long
def test_a_client_that_starts_after_the_end_of_its_sweep_succeeds(tmp_path):
    short = f"--workdir={tmp_path}", "--config.train.epochs=1", "--startup_timeout_s=2"
    with Process([*cluster.TRAINER, "tune", *FLAGS, *short[:2], "--max_trials=1"]) as sweep:
        assert sweep.wait() == 0, sweep.said
    ledger = (tmp_path / "ledger.jsonl").read_bytes()
    (port,) = ports.free_ports(1)
    with by_keras_tuner("late", port, *short, "--max_trials=1") as late:
        assert late.wait() == 0, late.said
        assert (
            late.screen[-1] == f"tune: the sweep in {tmp_path} has already finished; nothing to do"
        )
    with by_keras_tuner("early", port, *short, "--max_trials=2") as early:
        assert early.wait() == 75, early.said
        assert "no answer within 2 s" in early.error
    assert (tmp_path / "ledger.jsonl").read_bytes() == ledger


def test_a_client_without_a_server_ends_at_its_timeout(tmp_path):
    (port,) = ports.free_ports(1)
    with by_keras_tuner("lonely", port, f"--workdir={tmp_path}", "--startup_timeout_s=2") as client:
        assert client.wait() == 75
        assert f"no answer within 2 s from the sweep's server at 127.0.0.1:{port}" in client.error
