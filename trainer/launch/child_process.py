"""How is a task's process started, heard and ended?

Each process has a thread that reads what it says and one that awaits its end. They decide nothing: an
end is an event in a queue, for whoever started the process.
"""

import dataclasses
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from strategies.cluster.spec import Task
from trainer.process import parent_death

ERROR_MARK = "muster: error: "
_MAX_LINE_BYTES = 1 << 20
_DRAIN_S = 2.0
_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)


@dataclasses.dataclass(frozen=True)
class Command:
    """What a task is started with: the arguments of Python, and the environment."""

    args: Sequence[str]
    environ: Mapping[str, str]


class TaskOutput:
    """Whole lines on stdout, each headed by its task."""

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


class Process:
    """One start of a task. Start it from the main thread: the task ends with its starter's thread.

    At its end, once its output is shown, it puts itself into `events`, with its `code`. If nobody
    reads the screen any more, it puts SIGTERM there.
    """

    def __init__(self, task: Task, command: Command, screen: TaskOutput, events: queue.SimpleQueue):
        self.task = task
        self.code: int | None = None
        self.last_line = ""
        self.lived_s = 0.0
        self.was_asked = False
        self._screen = screen
        self._events = events
        self._began = time.monotonic()
        self._popen = subprocess.Popen(
            [*parent_death.command_prefix(), sys.executable, *command.args],
            env=command.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # The terminal's Ctrl-C reaches the launcher alone.
        )
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        threading.Thread(target=self._await, args=(reader,), daemon=True).start()

    def ask_to_stop(self) -> None:
        """Once: to a second SIGTERM a task that is saving would end at once."""
        if not self.was_asked:
            self.was_asked = True
            self._popen.terminate()

    def kill(self) -> None:
        """Ends it with whatever it started."""
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._popen.kill()

    def _read(self) -> None:
        for line in _lines(self._popen.stdout):
            if line.strip() and not self.last_line.startswith(ERROR_MARK):
                self.last_line = line.strip()
            try:
                self._screen.show(self.task, line)
            except OSError:
                self._events.put(signal.SIGTERM)
                return

    def _await(self, reader: threading.Thread) -> None:
        code = self._popen.wait()
        self.lived_s = time.monotonic() - self._began
        reader.join(_DRAIN_S)  # A process that the task left behind may hold the pipe for ever.
        self.code = code
        self._events.put(self)


def _lines(stream) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE_BYTES):
        yield line.decode(errors="replace").rstrip("\r\n")
