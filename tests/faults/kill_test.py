"""Does a run that is killed have the same result as one that is not?

Each run is killed once by SIGKILL, at a moment drawn from the session's seed. Then the same command is
run again until it succeeds. The session's summary lists which process was killed in which phase.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import re
import signal
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tests.cluster import cluster, held
from tests.cluster.cluster import Process, Run
from tests.faults import runs
from tests.faults.runs import LAYOUTS, WARM, Layout

MOMENTS = ("start-up", "step", "save", "evaluation")
SHORT = ("1 process", "2 workers", "1 ps")
LONG = (*LAYOUTS,) * 7
MAX_STARTS = 4  # Of one run.
LAST_EPOCH = 35.0  # From which on a moment is awaited, of 41 epochs.
HELD_AT_EPOCH = 40.0  # After some more saves and evaluations. It waits there to be killed.
START_UP_S = 3.0  # From the start of a process to its first step, on an idle machine.
TEST_EXAMPLES = 300
# Two workers that exchange every 5 steps are about 5 steps behind a synchronous run. After 41 epochs of
# 24 steps, the test accuracy of a synchronous run changes by less than this in the next five epochs.
STALENESS_ALLOWANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Kill:
    """Which process is killed in which run, and when; `number` makes equal ones distinct."""

    number: int
    layout: str
    victim: str
    moment: str

    def __str__(self) -> str:
        return f"{self.number}: {self.layout}, {self.victim}, {self.moment}"


def kills(seed: int, is_long: bool) -> list[Kill]:
    """The session's kills: in each layout the victims take turns, at another moment each time."""
    rng = random.Random(seed)
    turns = {name: _turns(rng, layout.victims) for name, layout in LAYOUTS.items()}
    layouts = LONG if is_long else SHORT
    return [Kill(number, name, *next(turns[name])) for number, name in enumerate(layouts)]


def _turns(rng: random.Random, victims: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(victim, moment), forever. Each victim has its own order of moments."""
    order = rng.sample(victims, len(victims))
    moments = {victim: itertools.cycle(rng.sample(MOMENTS, len(MOMENTS))) for victim in order}
    for victim in itertools.cycle(order):
        yield victim, next(moments[victim])


class Progress:
    """How far a run is, according to the files in its workdir."""

    def __init__(self, workdir: pathlib.Path):
        self.workdir = workdir

    def last(self, name: str = "metrics") -> dict:
        """The last complete event that was logged; one before the first step if there is none."""
        with (
            contextlib.suppress(FileNotFoundError),
            open(self.workdir / f"{name}.jsonl", "rb") as file,
        ):
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = [line for line in file.read().splitlines(keepends=True) if line[-1:] == b"\n"]
            if lines:
                return json.loads(lines[-1])
        return {"event": "", "epoch": -1.0, "step": -1}

    @property
    def saved(self) -> int:
        return max(Run(self.workdir).checkpoint_steps, default=0)

    @property
    def is_saving(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self.workdir / "checkpoints")
            return any(name.startswith(".building-") for name in names)
        return False

    @property
    def is_evaluating(self) -> bool:
        """Whether the last event of the trainers is one that comes before an evaluation."""
        last = self.last()
        return last["event"] == "train" and (last["epoch"] % 2 == 0 or last["step"] == runs.STEPS)

    @property
    def is_evaluator_evaluating(self) -> bool:
        """Whether there is a checkpoint without an event of the evaluator."""
        return -1 < self.last("evaluator")["step"] < self.saved

    def phase(self, victim: str) -> str:
        if victim.startswith("evaluator"):
            if self.last("evaluator")["step"] < 0:
                return "start-up"
            return "evaluation" if self.is_evaluator_evaluating else "between evaluations"
        if self.is_saving:
            return "save"
        if self.last()["step"] < 0:
            return "start-up"
        if self.is_evaluating:
            return "evaluation"
        return "after the last step" if (self.workdir / "summary.json").exists() else "step"


def _await(condition, process: Process) -> None:
    """Returns as soon as the condition holds. No event announces a file, so it polls."""
    deadline = time.monotonic() + cluster.PATIENCE_S
    while not condition():
        assert process.is_running, process.said
        assert time.monotonic() < deadline, process.said
        time.sleep(0.0005)


def _await_moment(kill: Kill, rng: random.Random, process: Process, progress: Progress) -> None:
    if kill.moment == "step":
        time.sleep(rng.uniform(0.0, 0.3))
    elif kill.moment == "save":
        _await_or_hold(lambda: progress.is_saving, process, progress)
    elif kill.moment == "evaluation" and kill.victim.startswith("evaluator"):
        _await_or_hold(lambda: progress.is_evaluator_evaluating, process, progress)
    elif kill.moment == "evaluation":
        _await_or_hold(lambda: progress.is_evaluating, process, progress)


def _await_or_hold(condition, process: Process, progress: Progress) -> None:
    """A busy machine may see no such moment. Then the run waits where it is held, and is killed there."""
    _await(lambda: condition() or progress.last()["epoch"] >= HELD_AT_EPOCH, process)


def _await_beginning(kill: Kill, rng: random.Random, process: Process, progress: Progress) -> None:
    """Waits until the time from which the moment counts: during start-up, or in some epoch."""
    if kill.moment == "start-up":
        time.sleep(rng.uniform(0.0, START_UP_S))
    elif kill.victim.startswith("evaluator"):
        _await(lambda: progress.last("evaluator")["step"] > 0, process)
    else:
        epoch = rng.uniform(0, LAST_EPOCH)
        _await(lambda: progress.last()["epoch"] >= epoch, process)


def _pid(rng: random.Random, victim: str, process: Process) -> int:
    """The victim's process id; for a task, that of its guardian or of the guarded process."""
    if victim in ("alone", "launch"):
        return process.pid
    if victim == WARM:
        return cluster.warm_pid(process)
    guardian = cluster.pid_of(process, runs.task(victim))
    return rng.choice([guardian, *cluster.children(guardian)])


@dataclasses.dataclass(frozen=True)
class Killed:
    """A process that has ended after it or one of its tasks was killed."""

    process: Process
    phase: str
    saved: int  # The step of the newest checkpoint at that moment.
    descendants: list[int]  # Processes that it had started. Some may still be saving.


def _start_and_kill(kill: Kill, layout: Layout, rng: random.Random, workdir) -> Killed:
    progress = Progress(workdir)
    with held.before(HELD_AT_EPOCH) as hold, layout.start(workdir) as process:
        _await_beginning(kill, rng, process, progress)
        pid = _pid(rng, kill.victim, process)
        descendants = cluster.descendants(process.pid)
        _await_moment(kill, rng, process, progress)
        phase, saved = progress.phase(kill.victim), progress.saved
        os.kill(pid, signal.SIGKILL)
        hold.release()
        if kill.victim == layout.leader:  # Nothing is written any more, so this is exact.
            phase = progress.phase(kill.victim)
        process.wait()
    return Killed(process, phase, saved, descendants)


def _run_until_done(layout: Layout, workdir: pathlib.Path, first: Process) -> list[Process]:
    """Runs the same command again until it succeeds; returns all its starts."""
    starts = [first]
    while starts[-1].wait() != 0:
        assert len(starts) < MAX_STARTS, starts[-1].said
        with layout.start(workdir) as process:
            process.wait()
        starts.append(process)
    return starts


def _assert_result_as_undisturbed(layout: str, run: Run, undisturbed) -> None:
    assert run.summary["steps"] == runs.STEPS
    assert run.iterations == {runs.STEPS}
    if LAYOUTS[layout].is_synchronous:
        assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
        return
    accuracy = undisturbed.summary["test_accuracy"]
    # Of a difference of two proportions. It is smaller still, as both are of the same examples.
    standard_error = np.sqrt(2 * accuracy * (1 - accuracy) / TEST_EXAMPLES)
    bound = 3 * standard_error + STALENESS_ALLOWANCE
    assert run.summary["test_accuracy"] == pytest.approx(accuracy, abs=bound)


@pytest.fixture(scope="module")
def tally(request):
    """Counts (victim, phase) of every kill; printed at the end of the session."""
    hits = collections.Counter()
    yield hits
    lines = [f"{count:>4} killed: {victim}, {phase}" for (victim, phase), count in hits.items()]
    request.config.stash[runs.TALLY] = sorted(lines, key=lambda line: line[5:])


def test_a_killed_run_has_the_same_result_as_one_without_faults(
    kill, rng, tally, tmp_path, undisturbed
):
    layout, workdir = LAYOUTS[kill.layout], tmp_path / "run"
    killed = _start_and_kill(kill, layout, rng, workdir)
    tally[kill.victim.partition(" ")[0], killed.phase] += 1
    if rng.random() < 0.5:  # Otherwise the command runs again while some may still be saving.
        cluster.await_end_of(killed.descendants)
    starts = _run_until_done(layout, workdir, killed.process)
    cluster.await_end_of(killed.descendants)
    for process in starts:
        assert process.wait() != 2 and "Traceback" not in process.said, process.said
    if len(starts) > 1 and killed.saved:
        resumed = re.findall(r"resuming at step (\d+)", starts[1].said)
        assert resumed and int(resumed[0]) >= killed.saved, starts[1].said
    assert not [*(workdir / "checkpoints").glob(".*")]
    if "evaluator 0" in layout.tasks:
        assert Progress(workdir).last("evaluator")["step"] == runs.STEPS
    _assert_result_as_undisturbed(kill.layout, Run(workdir), undisturbed)


@pytest.mark.long
def test_every_victim_and_every_moment_was_hit(tally):
    """It is the last test of the file, so that it sees all kills."""
    if sum(tally.values()) < len(LONG):
        pytest.skip("not all kills were selected")
    victims, phases = zip(*tally, strict=True)
    assert {*phases} >= {*MOMENTS}
    assert {*victims} == {"alone", "launch", "warm", "chief", "worker", "ps", "evaluator"}
