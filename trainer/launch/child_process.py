"""How does `launch` start the process of a task, show its output and notice its end?

Each process has a thread that shows its output and one that waits for its end. They decide nothing: the
end is an event for the supervisor.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from strategies.cluster.spec import Task
from trainer.process import parent_death
from trainer.process.child import StoppableChild
from trainer.process.exit_record import ExitRecord, RecordFile

_MAX_LINE_BYTES = 1 << 20
_DRAIN_S = 2.0
_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)


@dataclasses.dataclass(frozen=True)
class Command:
    """How to start a task: the arguments for Python, and the environment."""

    args: Sequence[str]
    environ: Mapping[str, str]


class TaskOutput:
    """The output of all tasks on stdout, in whole lines that begin with the task."""

    def __init__(self, tasks: Sequence[Task]):
        self._width = max(len(str(task)) for task in tasks) + 2
        self._places = {task: place for place, task in enumerate(tasks)}
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def show(self, task: Task, line: str) -> None:
        head = f"[{task}]".ljust(self._width)
        if self._coloured:
            head = f"\x1b[{_COLOURS[self._places[task] % len(_COLOURS)]}m{head}\x1b[0m"
        with self._lock:
            sys.stdout.write(f"{head} {line}\n")
            sys.stdout.flush()


class Process(StoppableChild):
    """One start of a task. Start it from the main thread: the task ends with its starter's thread.

    Once the process has ended and its output is shown, `code` and `record` are set, and `put_event` is
    called with this object. If nobody reads stdout any more, it is called with SIGTERM.
    """

    def __init__(
        self, task: Task, command: Command, output: TaskOutput, put_event: Callable[[Any], None]
    ):
        self.task = task
        self.code: int
        self.record: ExitRecord | None = None
        self.lifetime_s = 0.0
        self._last_line = ""
        self._output = output
        self._put_event = put_event
        self._started_at = time.monotonic()
        self._record_file = RecordFile()
        self._popen = subprocess.Popen(
            [*parent_death.command_prefix(), sys.executable, *command.args],
            env=self._record_file.name_in(command.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # The terminal's Ctrl-C reaches only the launcher.
        )
        super().__init__(self._popen)
        reader = threading.Thread(target=self._show_output, daemon=True)
        reader.start()
        threading.Thread(target=self._wait_for_end, args=(reader,), daemon=True).start()

    @property
    def blamed(self) -> Task | None:
        """The task that this one reports as lost or missing."""
        return self.record.task if self.record else None

    @property
    def message(self) -> str:
        """Why it ended: what it reports, or else the last line of its output."""
        return self.record.message if self.record and self.record.message else self._last_line

    def _show_output(self) -> None:
        for line in _lines(self._popen.stdout):
            self._last_line = line.strip() or self._last_line
            try:
                self._output.show(self.task, line)
            except OSError:
                self._put_event(signal.SIGTERM)
                return

    def _wait_for_end(self, reader: threading.Thread) -> None:
        code = self._popen.wait()
        self.lifetime_s = time.monotonic() - self._started_at
        reader.join(_DRAIN_S)  # A process that the task left behind may hold the pipe open forever.
        self.record = self._record_file.take(self._popen.pid, code)
        self.code = code
        self._put_event(self)


def _lines(stream) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE_BYTES):
        yield line.decode(errors="replace").rstrip("\r\n")
