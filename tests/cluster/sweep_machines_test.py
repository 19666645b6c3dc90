"""Does a sweep across machines lose a trial with a client? The machines are processes of this one."""

import json
import os
import pathlib
import signal
import time

import pytest

from tests.cluster import cluster
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


def part(name: str, port: int, *flags: str) -> Process:
    """The chief of a sweep, or a client of it."""
    environ = {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "MUSTER_SECRET": "of this sweep alone",
    }
    return Process([*cluster.TRAINER, "tune", *FLAGS, *flags], environ)


def by_slurm(place: int, port: int, *flags: str) -> Process:
    """A task of a step of two; `port` gives the step a number, and so ports, of its own."""
    environ = {
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_PROCID": str(place),
        "SLURM_LOCALID": str(place),
    }
    return Process([*cluster.TRAINER, "tune", *FLAGS, *flags], environ)


def by_flags(place: int, port: int, *flags: str) -> Process:
    own = (f"--cluster=127.0.0.1:{port},192.0.2.1:1", f"--task=worker:{place}")
    return Process([*cluster.TRAINER, "tune", *FLAGS, *own, *flags])


def _await_checkpoints(workdir: pathlib.Path, num_trials: int) -> None:
    deadline = time.monotonic() + cluster.PATIENCE_S
    while (
        len({path.parts[-3] for path in workdir.glob("trials/*/checkpoints/step-*")}) < num_trials
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_client_that_dies_gives_its_trial_back_and_another_goes_on_with_it(tmp_path):
    (port,) = ports.free_ports(1)
    shared = f"--workdir={tmp_path}"
    with (
        part("chief", port, shared) as chief,
        part("first", port, shared) as first,
        part("second", port, shared) as second,
    ):
        chief.await_line("client first at 127.0.0.1 takes part")
        chief.await_line("client second at 127.0.0.1 takes part")
        _await_checkpoints(tmp_path, 2)
        for pid in [*cluster.descendants(first.pid), first.pid]:  # As where a machine dies.
            os.kill(pid, signal.SIGKILL)
        lost = chief.await_line("client first at 127.0.0.1 was lost", 15)
        assert "goes to another" in lost
        trial = lost.split("trial ")[1].split()[0]
        assert second.wait() == 0, second.said
        assert chief.wait() == 0, chief.said
    found = json.loads((tmp_path / "trials.json").read_text())
    assert [one["status"] for one in found] == ["completed"] * NUM_TRIALS
    assert "resuming at step" in (tmp_path / "trials" / trial / "log.txt").read_text()
    config = json.loads((tmp_path / "best_config.json").read_text())
    best = max(found, key=lambda one: one["objective"])
    assert config["optimizer"]["learning_rate"] == best["values"]["optimizer.learning_rate"]


@pytest.mark.parametrize("task", [by_slurm, pytest.param(by_flags, marks=pytest.mark.long)])
def test_workers_are_one_sweep_whose_first_goes_on_with_what_another_leaves_behind(task, tmp_path):
    (port,) = ports.free_ports(1)
    shared = f"--workdir={tmp_path}", "--max_trials=2", "--config.train.epochs=40"
    with task(0, port, *shared) as first, task(1, port, *shared) as second:
        first.await_line("client worker-1 at 127.0.0.1 takes part")
        _await_checkpoints(tmp_path, 2)
        for pid in [*cluster.descendants(second.pid), second.pid]:
            os.kill(pid, signal.SIGKILL)
        trial = first.await_line("worker-1 at 127.0.0.1 was lost", 15).split("trial ")[1].split()[0]
        assert first.wait() == 0, first.said
    found = json.loads((tmp_path / "trials.json").read_text())
    assert [one["status"] for one in found] == ["completed"] * 2
    log = (tmp_path / "trials" / trial / "log.txt").read_text()
    assert "resuming at step" in log and "single task, no cluster in TF_CONFIG" in log


def test_a_client_with_other_settings_is_told_which(tmp_path):
    (port,) = ports.free_ports(1)
    with (
        part("chief", port, f"--workdir={tmp_path / 'chief'}") as chief,
        part("odd", port, f"--workdir={tmp_path / 'odd'}", "--seed=5") as odd,
    ):
        assert odd.wait() == 2
        assert odd.error.startswith("`seed` must be the same on every task. Received: ")
        assert odd.error in chief.await_line("was refused")


@pytest.mark.long
def test_a_client_that_comes_after_the_end_of_its_sweep_ends_well(tmp_path):
    short = f"--workdir={tmp_path}", "--config.train.epochs=1", "--startup_timeout_s=2"
    with Process([*cluster.TRAINER, "tune", *FLAGS, *short[:2], "--max_trials=1"]) as alone:
        assert alone.wait() == 0, alone.said
    ledger = (tmp_path / "ledger.jsonl").read_bytes()
    (port,) = ports.free_ports(1)
    with part("late", port, *short, "--max_trials=1") as late:
        assert late.wait() == 0, late.said
        assert late.screen[-1] == f"tune: the sweep in {tmp_path} is over, so that nobody is missed"
    with part("early", port, *short, "--max_trials=2") as early:
        assert early.wait() == 75, early.said
        assert "did not answer within 2 s" in early.error
    assert (tmp_path / "ledger.jsonl").read_bytes() == ledger


def test_without_a_chief_a_client_gives_up_in_time(tmp_path):
    (port,) = ports.free_ports(1)
    with part("lonely", port, f"--workdir={tmp_path}", "--startup_timeout_s=2") as client:
        assert client.wait() == 75
        assert f"the sweep's chief at 127.0.0.1:{port} did not answer within 2 s" in client.error
