"""Which failure decides how a launched run ended, and what are its exit code and last line?

`ExitReport` collects the ends of tasks. The first fault decides, or, where every task ended with 75, the
first end; a task that ends with 75 may blame another in its exit record.
"""

import signal
from collections.abc import Container
from typing import Any

from strategies.cluster.spec import Task
from strategies.errors import EXIT_DONE, EXIT_RESUME
from trainer.launch.child_process import Process
from trainer.process import console, exit_record
from trainer.process.exit_record import ExitRecord


class ExitReport:
    """The ends so far.

    Args:
      resume_flags: what a person adds to the command line to resume the run; "" for nothing.
    """

    def __init__(self, resume_flags: str):
        self.failures: list[Process] = []  # Of the current cluster, in the order of their ends.
        self.given_up: list[Process] = []  # Tasks that the run continues without.
        self.is_complete = False  # The leader has ended with 0.
        self.signal: signal.Signals | None = None  # By which this process was asked to stop.
        self._last_ends: dict[Task, Process] = {}  # Of the current cluster, by failed tasks.
        self._codes_since_signal: set[int] = set()
        self._resume_flags = resume_flags

    def start_cluster(self) -> None:
        """Forgets how the tasks of an earlier cluster ended."""
        self.failures.clear()
        self._last_ends.clear()

    def note_end(self, process: Process) -> None:
        if self.signal:
            self._codes_since_signal.add(process.code)

    def note_failure(self, process: Process) -> None:
        """A task of the current cluster ended with another code than 0, which may count or not."""
        self._last_ends[process.task] = process

    def forgive_losses(self) -> None:
        """The run is complete, so a task that was lost is not a failure."""
        self.failures = [process for process in self.failures if not is_loss(process)]

    def blamed_tasks(self) -> set[Task]:
        """The tasks that those that failed have named as lost or missing."""
        return {process.blamed for process in self.failures if process.blamed}

    def first_failure(self, members: Container[Task]) -> tuple[Process, Task]:
        """The end that decides, and the task to blame for it, one of `members`."""
        failures = self.failures or self.given_up
        faults = [process for process in failures if process.code != EXIT_RESUME]
        process = _most_telling(faults) if faults else failures[0]
        blamed = process.blamed
        if faults or blamed is None or blamed not in members:
            return process, process.task
        return self._last_ends.get(blamed, process), blamed

    def conclude(self, members: Container[Task]) -> int:
        """Prints and records how the run ended, and returns the exit code."""
        console.finish()
        exit_code, lines = self._conclusion(members)
        for line in lines:
            console.print_line(f"launch: {line}")
        exit_record.write(ExitRecord(exit_code, lines[-1] if lines else ""))
        return exit_code

    def _conclusion(self, members: Container[Task]) -> tuple[int, list[str]]:
        if self.signal:
            return self._stopped_by(self.signal)
        if not self.failures and not self.given_up:
            return EXIT_DONE, []
        process, _ = self.first_failure(members)
        lines = []
        if process.code == EXIT_RESUME and self._resume_flags:
            lines.append(f"to resume, run the same command with {self._resume_flags}")
        why = f": {process.message}" if process.message else ""
        lines.append(f"{describe_end(process)}{why}")
        return (process.code if process.code > 0 else 128 - process.code), lines

    def _stopped_by(self, number: signal.Signals) -> tuple[int, list[str]]:
        codes = self._codes_since_signal
        if self.is_complete and codes == {EXIT_DONE}:
            return EXIT_DONE, []
        is_resumable = codes <= {EXIT_DONE, EXIT_RESUME, -signal.SIGTERM}
        if is_resumable and (EXIT_RESUME in codes or not codes):
            added = f" with {self._resume_flags}" if self._resume_flags else " again"
            line = f"stopped by {number.name}; run the same command{added} to resume"
            return EXIT_RESUME, [line]
        return 128 + number, [f"stopped by {number.name}"]


def _most_telling(faults: list[Process]) -> Process:
    """The first; or, of those with its exit code, one that reports why: servers end with the leader's."""
    alike = [process for process in faults if process.code == faults[0].code]
    telling = [process for process in alike if process.record and process.record.message]
    return (telling or faults)[0]


def is_loss(process: Process) -> bool:
    """True for an end with 75 and a death by a signal, which a task's guardian reports as 128 + n."""
    return process.code < 0 or process.code == EXIT_RESUME or process.code > 128


def describe_end(process: Process) -> str:
    """How it ended, as in "worker 1 was killed by SIGKILL"."""
    if name := _killed_by(process):
        return f"{process.task} was killed by {name}"
    return f"{process.task} failed with exit code {process.code}"


def end_event(process: Process) -> dict[str, Any]:
    """What the screen and programs are told of its end."""
    name = _killed_by(process)
    if process.code == EXIT_DONE:
        state, why = "done", ""
    elif name:
        state, why = "lost", f"killed by {name}"
    elif process.code == EXIT_RESUME:
        state, why = "stopped", f"{process.blamed} was lost" if process.blamed else ""
    else:
        state, why = "failed", process.message or f"exit code {process.code}"
    ended = {"event": "task", "task": str(process.task), "state": state, "why": why}
    return ended | {"exit_code": process.code}


def _killed_by(process: Process) -> str:
    """The signal that killed it; "" if none did."""
    number = -process.code if process.code < 0 else process.code - 128
    return signal.Signals(number).name if number in [*signal.Signals] else ""
