"""Why did a process end, as a value that its supervisor can read?

The process writes one small JSON object to the file that its supervisor named in MUSTER_EXIT_RECORD: the
exit code, its kind, the message, and the task that the end is blamed on. So no supervisor parses
messages, and their wording can change freely. Our supervisors name a file in memory, which cannot outlive
them.

The exit code of the process decides, and the record explains it: a record that is missing, damaged,
written by another process, or about another exit code counts as none.
"""

import contextlib
import dataclasses
import json
import os
import weakref
from collections.abc import Mapping

from strategies.cluster.spec import Task
from strategies.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_RESUME
from trainer.process import event_stream

VARIABLE = "MUSTER_EXIT_RECORD"
_FORMAT = 1
_MAX_MESSAGE_CHARS = 1 << 14
_MAX_BYTES = 1 << 18  # JSON takes up to 12 bytes for a character.


@dataclasses.dataclass(frozen=True)
class ExitRecord:
    """How a process ended. `task` is the lost or missing task that it blames, None if it is its own."""

    exit_code: int
    message: str = ""
    task: Task | None = None

    @property
    def kind(self) -> str:
        """One of "done", "bad_input", "resume", "killed" (by a signal) and "fault"."""
        names = {EXIT_DONE: "done", EXIT_BAD_INPUT: "bad_input", EXIT_RESUME: "resume"}
        return names.get(self.exit_code, "killed" if self.exit_code > 128 else "fault")


@dataclasses.dataclass(frozen=True)
class _Request:
    path: str
    pid: int  # Of the process that the supervisor started. A guarded task has a child that writes, too.


_request: _Request | None = None


def accept_request() -> None:
    """Takes the supervisor's request for a record, if there is one, out of the environment.

    So what this process starts does not write in its place. Call it before any fork.
    """
    global _request  # noqa: PLW0603, as the end is the process's.
    path = os.environ.pop(VARIABLE, "")
    _request = _Request(path, os.getpid()) if path else None


def write(record: ExitRecord) -> None:
    """Gives the supervisor the record, if it asked for one. The first record of a process stays.
    It is also the last of this process's events.

    Call it just before the end. It never raises: a process ends with its exit code even where its
    record cannot be written.
    """
    blamed = str(record.task) if record.task else None
    event_stream.end(record.exit_code, record.message, blamed)
    if not _request:
        return
    values = {
        "format": _FORMAT,
        "pid": _request.pid,
        "exit_code": record.exit_code,
        "kind": record.kind,
        "task": record.task and record.task.as_json(),
        "message": record.message[:_MAX_MESSAGE_CHARS],
    }
    # The supervisor and its file are gone, or the disk is full.
    with contextlib.suppress(OSError), open(_request.path, "ab") as file:
        if not file.tell():
            file.write(json.dumps(values).encode())


class RecordFile:
    """A supervisor's side: the file for the record of one start of a process.

    It is a file in memory, which the process opens through the supervisor's entry in /proc. Where the
    system has none, the process is supervised by its exit code alone.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(AttributeError, OSError):
            self._descriptor = os.memfd_create("exit-record")
            self._close = weakref.finalize(self, os.close, self._descriptor)

    def name_in(self, environ: Mapping[str, str]) -> dict[str, str]:
        """This environment, with which to start the process, and the file's path in it."""
        named = {}
        if self._descriptor is not None:
            named[VARIABLE] = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        return {name: value for name, value in environ.items() if name != VARIABLE} | named

    def take(self, pid: int, exit_code: int) -> ExitRecord | None:
        """The record of the process, which has ended with this code. It can be taken once."""
        if self._descriptor is None:
            return None
        text = os.pread(self._descriptor, _MAX_BYTES, 0)
        self._descriptor = None
        self._close()
        try:
            return _parsed(json.loads(text), pid, exit_code)
        except (ValueError, RecursionError):
            return None


def _parsed(values: object, pid: int, exit_code: int) -> ExitRecord | None:
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        return None
    message = values.get("message")
    ours = (values.get("pid"), values.get("exit_code")) == (pid, exit_code)
    if not ours or not isinstance(message, str):
        return None
    return ExitRecord(exit_code, message, Task.from_json(values.get("task")))
