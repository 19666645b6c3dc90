"""Does a clock that jumps disturb a run?

Python's `time.time` jumps, as in a process whose system clock is set; monotonic time does not. The test
does not use libfaketime, which would also change the clock of native code: with version 0.9.10, Python's
`time.sleep` fails.
"""

import contextlib
import json
import pathlib

import pytest

from tests.cluster import cluster
from tests.faults import runs

DAY_S = 86_400
WRAPPER = """
import pathlib, sys, time

path, real = pathlib.Path(sys.argv.pop(1)), time.time
time.time = lambda: real() + float(path.read_text())
from trainer.__main__ import main
main()
"""


class Clock:
    """A clock for processes that is wrong by some days."""

    def __init__(self, path: pathlib.Path, days: int = 0):
        self._path = path
        self.set(days)

    def set(self, days: int) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{days * DAY_S:+d}")
        fresh.rename(self._path)  # So that no process reads half of it.

    def task(self, spec, *flags: str) -> cluster.Process:
        """A task of a cluster with this clock."""
        return cluster.Process(["-c", WRAPPER, str(self._path), *flags], cluster.tf_config(spec))


def _jumps(workdir: pathlib.Path) -> list[int]:
    """By how many days the leader's clock jumped, for each jump between two events."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    times = [json.loads(line)["time"] for line in lines]
    days = [round((b - a) / DAY_S) for a, b in zip(times, times[1:], strict=False)]
    return [jump for jump in days if jump]


def _run(jobs, workdir, tmp_path):
    """The run of a cluster whose leader's clock jumps back, and then ahead.

    The clocks of the other tasks are wrong from the start, by one day more for each task.
    """
    leaders_clock = Clock(tmp_path / "clock0")
    flags = (f"--workdir={workdir}", *runs.FLAGS)
    leader, *others = cluster.clusters(**jobs)
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(leaders_clock.task(leader, *flags))]
        for place, spec in enumerate(others, 1):
            clock = Clock(tmp_path / f"clock{place}", days=place)
            processes.append(stack.enter_context(clock.task(spec, *flags)))
        processes[0].await_line("epoch  10.00")
        leaders_clock.set(-1)
        processes[0].await_line("epoch  30.00")
        leaders_clock.set(1)
        codes = [process.wait() for process in processes]
    said = "\n".join(process.said for process in processes)
    assert codes == [0] * len(processes), said
    assert "lost" not in said, said
    assert _jumps(workdir) == [-1, 2]
    return cluster.Run(workdir)


@pytest.mark.long
def test_workers_train_to_the_same_weights_whatever_their_clocks_say(tmp_path, undisturbed):
    run = _run({"worker": 2}, tmp_path / "run", tmp_path)
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
    assert 0 < run.summary["seconds"] < cluster.PATIENCE_S


@pytest.mark.long
def test_parameter_servers_apply_every_step_once_whatever_their_clocks_say(tmp_path):
    run = _run({"chief": 1, "worker": 2, "ps": 1}, tmp_path / "run", tmp_path)
    assert run.summary["steps"] == runs.STEPS
    assert run.iterations == {runs.STEPS}
