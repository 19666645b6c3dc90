"""How does `launch` start the process of a task, show its output and notice its end?

Each process has a thread that starts it and waits for its end, and one that shows its output. They
decide nothing: the end is an event for the supervisor.
"""

import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from strategies.cluster.spec import Task
from strategies.errors import EXIT_FAULT, os_reason
from trainer.process import console, event_stream
from trainer.process.exit_record import ExitRecord, RecordFile
from trainer.process.start.program import Program
from trainer.process.start.starter import Starter
from trainer.process.start.stoppable_child import StoppableChild

_MAX_LINE_BYTES = 1 << 20
_DRAIN_S = 2.0
_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)


class TaskOutput:
    """The output of all tasks on stdout: whole lines that begin with the task, or events."""

    def __init__(self, tasks: Sequence[Task]):
        self._width = max(len(str(task)) for task in tasks) + 2
        self._places = {task: place for place, task in enumerate(tasks)}
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def show(self, task: Task, event: Mapping[str, Any]) -> bool:
        """Shows an event of the task. False where stdout's reader is gone."""
        if event_stream.is_on():
            return event_stream.write({**event, "task": str(task)})
        head = f"[{task}]".ljust(self._width)
        if self._coloured:
            head = f"\x1b[{_COLOURS[self._places[task] % len(_COLOURS)]}m{head}\x1b[0m"
        with self._lock:
            return console.print_outcome(f"{head} {event['message']}")


class Process(StoppableChild):
    """One start of a task.

    Once the process has ended and its output is shown, `code` and `record` are set, and `put_event` is
    called with this object. If nobody reads stdout any more, it is called with SIGTERM.
    """

    def __init__(
        self,
        task: Task,
        program: Program,
        starter: Starter,
        output: TaskOutput,
        put_event: Callable[[Any], None],
    ):
        super().__init__()
        self.task = task
        self.code: int
        self.record: ExitRecord | None = None
        self.lifetime_s = 0.0
        self._last_line = ""
        self._output = output
        self._put_event = put_event
        self._record_file = RecordFile()
        environ = self._record_file.name_in(program.environ)
        program = dataclasses.replace(program, environ=environ)
        threading.Thread(target=self._run, args=(program, starter), daemon=True).start()

    @property
    def blamed(self) -> Task | None:
        """The task that this one reports as lost or missing."""
        return self.record.task if self.record else None

    @property
    def message(self) -> str:
        """Why it ended: what it reports, or else the last line of its output."""
        return self.record.message if self.record and self.record.message else self._last_line

    def _run(self, program: Program, starter: Starter) -> None:
        """The life of the process, in a thread that lasts as long: the task ends with its starter's."""
        try:
            self.code = self._start_and_wait(program, starter)
        except OSError as error:
            self.code, self._last_line = EXIT_FAULT, f"it could not be started: {os_reason(error)}"
        self._put_event(self)

    def _start_and_wait(self, program: Program, starter: Starter) -> int:
        """The exit code; negative for a signal, also for one that was sent before the start."""
        started_at = time.monotonic()
        ours, theirs = os.pipe()
        try:
            child = starter.start(program, theirs, self.is_given_up)
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        if child is None:
            os.close(ours)
            assert self.ended_by
            return -self.ended_by
        self.set_child(child)
        reader = threading.Thread(target=self._show_output, args=(ours,), daemon=True)
        reader.start()
        code = child.wait()
        self.lifetime_s = time.monotonic() - started_at
        reader.join(_DRAIN_S)  # A process that the task left behind may hold the pipe open forever.
        self.record = self._record_file.take(child.pid, code)
        return code

    def _show_output(self, descriptor: int) -> None:
        is_shown = True
        with open(descriptor, "rb") as output:
            for line in _lines(output):  # To the end: a task blocks where nobody reads its output.
                event = event_stream.parse(line) or {"event": "output", "message": line}
                self._last_line = event.get("message", "").strip() or self._last_line
                if is_shown and not self._output.show(self.task, event):
                    is_shown = False
                    self._put_event(signal.SIGTERM)


def _lines(stream) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE_BYTES):
        yield line.decode(errors="replace").rstrip("\r\n")
