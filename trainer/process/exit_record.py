"""Why did a process end, as a value that its supervisor can read?

The process writes one small JSON object to the file that its supervisor named in MUSTER_EXIT_RECORD: the
exit code, its kind, the message, and the task that the end is blamed on. So no supervisor parses
messages, and their wording can change freely.

The exit code of the process decides, and the record explains it: a record that is missing, damaged,
written by another process, or about another exit code counts as none.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping

from strategies.cluster.spec import Task
from strategies.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_RESUME

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
    """Gives the supervisor the record, whole, if it asked for one. The first record of a process stays.

    Call it just before the end. It never raises: a process ends with its exit code even where its
    record cannot be written.
    """
    if not _request or os.path.exists(_request.path):
        return
    values = {
        "format": _FORMAT,
        "pid": _request.pid,
        "exit_code": record.exit_code,
        "kind": record.kind,
        "task": record.task and record.task.as_json(),
        "message": record.message[:_MAX_MESSAGE_CHARS],
    }
    try:
        fd, unnamed = tempfile.mkstemp(dir=os.path.dirname(_request.path))
        with open(fd, "w") as file:
            json.dump(values, file)
        os.replace(unnamed, _request.path)
    except OSError:
        return  # The supervisor and its folder are gone, or the disk is full.


class RecordFile:
    """A supervisor's side: the file for the record of one start of a process."""

    def __init__(self):
        self._path = ""
        try:
            folder = tempfile.mkdtemp(prefix="muster-exit-")
        except OSError:
            return  # Without a record the process is supervised by its exit code.
        self._path = os.path.join(folder, "record.json")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def name_in(self, environ: Mapping[str, str]) -> dict[str, str]:
        """This environment, with which to start the process, and the file's path in it."""
        named = {VARIABLE: self._path} if self._path else {}
        return {name: value for name, value in environ.items() if name != VARIABLE} | named

    def take(self, pid: int, exit_code: int) -> ExitRecord | None:
        """The record of the process, which has ended with this code. The file is removed."""
        if not self._path:
            return None
        try:
            with open(self._path, "rb") as file:
                values = json.loads(file.read(_MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        finally:
            self._remove()
        return _parsed(values, pid, exit_code)


def _parsed(values: object, pid: int, exit_code: int) -> ExitRecord | None:
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        return None
    message = values.get("message")
    ours = (values.get("pid"), values.get("exit_code")) == (pid, exit_code)
    if not ours or not isinstance(message, str):
        return None
    return ExitRecord(exit_code, message, Task.from_json(values.get("task")))
