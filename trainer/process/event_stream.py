"""How do a process's events reach the program that reads them? As JSON objects, one on each line.

`docs/terminal.md` lists the events. They go to stdout for --json, or to the live view or `launch`, where
they are marked, as other lines come through the same pipe. What the process does now is left out where
the reader is slow, and nothing is written once it is gone.
"""

import contextlib
import json
import logging as std_logging
import math
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from trainer.process import console, report
from trainer.process.standard_json import to_json

MARK = "\x1e"  # ASCII's record separator, as in RFC 7464.
VARIABLE = "MUSTER_SCREEN"
# What `launch` asks of its tasks by that variable: lines that they do not all print, or events.
SHARED, EVENTS = "shared", "events"
CLOSED = "closed"  # The last event for a live view.

_stream: "EventStream | None" = None


class EventStream:
    """Writes events to a descriptor, from any thread.

    A program that reads --json may take its time. The live view and `launch` always read, so one that
    does not has failed, and training continues without it.
    """

    def __init__(self, descriptor: int, mark: str):
        self._descriptor, self._mark = descriptor, mark
        self._patience_s = console.PATIENCE_S if mark else math.inf
        self._progress_every_s = 0.25 if mark else 1.0
        self._lock = threading.Lock()
        self._is_lost = False  # Its reader.
        self._shown = report.latest_progress()
        self._has_ended = False

    def write(self, event: Mapping[str, Any], may_wait: bool = True) -> bool:
        """Writes one event, where its reader takes it. False once that is gone."""
        text = to_json({"event": "", "time": round(time.time(), 3), **event})
        data = f"{self._mark}{text}\n".encode()
        with self._lock:
            if not self._is_lost:
                patience_s = self._patience_s if may_wait else 0.0
                rest = console.write_in_time(self._descriptor, data, patience_s)
                self._is_lost = bool(rest) and (may_wait or len(rest) < len(data))
            return not self._is_lost

    def end(self, values: Mapping[str, Any]) -> None:
        """Writes how this process ends; the first of several counts."""
        if not self._has_ended:
            self._has_ended = True
            self.write({"event": "end", **values})

    def follow_progress(self) -> None:
        """Writes what the process does whenever that has changed, in a thread of its own."""
        threading.Thread(target=self._follow, name="progress", daemon=True).start()

    def close(self) -> None:
        with self._lock:
            self._has_ended = self._is_lost = True
            os.close(self._descriptor)

    def _follow(self) -> None:
        while not (self._has_ended or self._is_lost):
            latest = report.latest_progress()
            if latest != self._shown:
                self._shown = latest
                self.write({"event": "progress", **latest}, may_wait=False)
            time.sleep(self._progress_every_s)


class Handler(std_logging.Handler):
    """Writes log records to the event stream."""

    def emit(self, record: std_logging.LogRecord) -> None:
        name = getattr(record, "event", report.LOG)
        event = {"event": name, "time": round(record.created, 3)}
        if name == report.LOG:
            event["level"] = record.levelname.lower()
        values = getattr(record, "values", {})
        write(event | values | event | {"message": record.getMessage()})  # No value hides its own.


def start(descriptor: int, mark: str = "") -> EventStream:
    """From now on this process's events go to where this descriptor leads now."""
    global _stream  # noqa: PLW0603, as a process has one.
    _stream = EventStream(os.dup(descriptor), mark)
    return _stream


def stop() -> None:
    """From now on events go nowhere."""
    global _stream
    stream, _stream = _stream, None
    if stream:
        stream.close()


def follow_progress() -> None:
    """Writes events of progress, too. Call it once this process forks no more, as it starts a thread."""
    if _stream:
        _stream.follow_progress()


def is_on() -> bool:
    return _stream is not None


def write(event: Mapping[str, Any]) -> bool:
    """Writes an event, if this process writes any. False once its reader is gone."""
    return _stream is None or _stream.write(event)


def end(exit_code: int, message: str, blamed: str | None) -> None:
    """Writes how this process ends. `blamed`: the lost task, if that is the reason."""
    if _stream:
        _stream.end({"exit_code": exit_code, "message": message, "blamed": blamed})


def parse(line: str) -> dict[str, Any] | None:
    """The event in a line of another process; None where the line is no event."""
    if not line.startswith(MARK):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        event = json.loads(line.removeprefix(MARK))
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            return event
    return None


def requested() -> str:
    """What `launch` asks of this task. It is taken out of the environment, as no child of it is asked."""
    return os.environ.pop(VARIABLE, "")
