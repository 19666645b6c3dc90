"""What does a terminal show of a process's lines and events? Lines that stay, and a block below them.

`ScreenView` takes everything that the process writes. `live.py` puts it on a terminal.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from trainer.process import event_stream
from trainer.reporting import blocks
from trainer.reporting.sweep_view import SweepView
from trainer.reporting.terminal import printable_line
from trainer.reporting.training_view import TrainingView

_TASK_STYLES = (
    *("cyan", "yellow", "magenta", "green", "blue"),
    *("bright_cyan", "bright_yellow", "bright_magenta", "bright_green", "bright_blue"),
)
_LEVELS = {"warning": blocks.NOTE, "error": blocks.BAD, "critical": blocks.BAD}
_ERROR = "muster: error: "
_SILENT = ("end", "task")  # The block shows them, and the lines of the log say more.


class ScreenView:
    """The views of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._views = TrainingView(clock), SweepView(clock)
        self._tasks: list[str] = []  # In the order of their first events.
        self.is_closed = False  # The process needs the view no more.

    def feed(self, line: str) -> list[str]:
        """Takes one line of the process; returns what of it stays on the screen."""
        event = event_stream.parse(line)
        if event is None:
            return [_painted(line)]
        for view in self._views:
            view.feed(event)
        task, message = event.get("task"), event.get("message")
        if task and task not in self._tasks:
            self._tasks.append(task)
        self.is_closed = event["event"] == event_stream.CLOSED
        if not message or event["event"] in _SILENT:
            return []
        return [self._head(task) + _line_of(event, str(message))]

    def lines(self, width: int, height: int, encoding: str) -> list[str]:
        """The block for a window of this size."""
        is_ascii = not encoding.lower().startswith("utf")
        rows = [row for view in self._views for row in view.rows(width, is_ascii)]
        return blocks.render(rows, width, height, encoding) if rows else []

    def _head(self, task: str | None) -> str:
        if not task:
            return ""
        columns = max(map(len, self._tasks)) + 2
        style = _TASK_STYLES[self._tasks.index(task) % len(_TASK_STYLES)]
        return blocks.paint(f"[{task}]".ljust(columns), style) + " "


def _line_of(event: Mapping[str, Any], message: str) -> str:
    if event["event"] == "output":
        return _painted(message)
    level = event.get("level", "")
    mark = f"{level}: " if level in _LEVELS else ""
    clock = time.strftime("%H:%M:%S", time.localtime(event.get("time", 0.0)))
    lines = [printable_line(line) for line in f"{clock} {mark}{message}".split("\n")]
    return "\n".join(blocks.paint(line, _LEVELS.get(level, "")) for line in lines)


def _painted(line: str) -> str:
    """A line that is no event, as what a library prints. Errors stand out."""
    return blocks.paint(printable_line(line), blocks.BAD if line.startswith(_ERROR) else "")
