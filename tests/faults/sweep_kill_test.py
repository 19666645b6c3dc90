"""Does a sweep that is killed repeatedly keep every ended trial, and run none of them twice?

At random times, drawn from the session's seed, the sweep, its warm process or one trial is killed. When
the sweep is gone, the same command is run again.
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import time

import pytest

from tests.cluster import cluster
from tests.cluster.cluster import Process

NUM_TRIALS = 12
FLAGS = (
    "--config=digits_dense",
    "--config.train.epochs=30",
    "--config.train.steps_per_loop=4",  # Makes training slower, so that kills hit it.
    "--config.train.checkpoint_every_steps=48",
    "--tuner=random",
    "--seed=11",
    f"--max_trials={NUM_TRIALS}",
    "--parallel_trials=2",
    "--space.optimizer.learning_rate=1e-4..1e-1:log",
    "--space.model.hidden_units=16|32|64",
)
VICTIMS = ("sweep", "sweep", "warm process", "trial")
MAX_RUN_S = 12.0  # From the start of a sweep, which takes some seconds, to a kill.

pytestmark = pytest.mark.timeout(1800)


def tuning(workdir: pathlib.Path) -> Process:
    environ = {"TMPDIR": str(workdir.parent)}
    return Process([*cluster.TRAINER, "tune", f"--workdir={workdir}", *FLAGS], environ)


def finish(workdir: pathlib.Path) -> None:
    with tuning(workdir) as process:
        assert process.wait(600) == 0, process.said


def ledger(workdir: pathlib.Path) -> list[dict]:
    lines = (workdir / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def results(workdir: pathlib.Path) -> dict[str, tuple]:
    """The values, status, objective and weights of each trial, by id."""
    outcomes = {}
    for trial in json.loads((workdir / "trials.json").read_text()):
        summary = json.loads((workdir / "trials" / trial["id"] / "summary.json").read_text())
        value = json.dumps(trial["values"]), trial["status"], trial["objective"]
        outcomes[trial["id"]] = (*value, summary["weights_sha256"])
    return outcomes


def kill(process: Process, victim: str, rng: random.Random) -> None:
    """Kills the victim if there is one, and otherwise the sweep."""
    children = [*cluster.children(process.pid)]
    servers = [pid for pid in children if b"fork_server" in cluster.command_of(pid)]
    trials = [pid for pid in children if b"--workdir" in cluster.command_of(pid)]
    pids = {"warm process": servers, "trial": trials}.get(victim) or [process.pid]
    with contextlib.suppress(ProcessLookupError):  # A trial that has ended meanwhile.
        os.kill(rng.choice(pids), signal.SIGKILL)


def run_with_kills(workdir: pathlib.Path, rng: random.Random, kills: int) -> int:
    """Runs a sweep until it has finished or `kills` were made. Returns how many are left."""
    ended: collections.Counter = collections.Counter()
    while kills:
        with tuning(workdir) as process:
            process.await_line("sweep in")
            until = time.monotonic() + rng.uniform(0.5, MAX_RUN_S)
            while process.is_running and time.monotonic() < until:
                time.sleep(0.05)
            if not process.is_running:
                break  # It finished before its kill.
            kill(process, rng.choice(VICTIMS), rng)
            kills -= 1
        now = collections.Counter(e["id"] for e in ledger(workdir) if e["event"] == "ended")
        assert all(now[trial] == 1 for trial in ended), "an ended trial stays ended"
        ended = now
    return kills


@pytest.mark.long  # tune_test.py kills a sweep in every session.
@pytest.mark.parametrize("kills", [20])
def test_a_killed_sweep_has_the_results_of_one_that_was_not(tmp_path, rng, kills):
    finish(tmp_path / "without_kills")
    for number in range(kills):
        workdir = tmp_path / str(number)
        kills = run_with_kills(workdir, rng, kills)
        finish(workdir)
        assert results(workdir) == results(tmp_path / "without_kills")
        for event in ("asked", "ended"):
            counts = collections.Counter(e["id"] for e in ledger(workdir) if e["event"] == event)
            assert len(counts) == NUM_TRIALS and {*counts.values()} == {1}, event
        if not kills:
            break
    assert not kills
