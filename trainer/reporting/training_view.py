"""How far is training, and what does each task do? A block of lines, from the events of a run.

`TrainingView` keeps what the newest events say: of one process, or of the tasks that `launch` started.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from trainer.reporting import blocks
from trainer.reporting.format import format_duration, format_metric, printable

_RATE_WINDOW_S = 20.0
_FIGURES = ("train", "validation", "eval")
_NOT_METRICS = {
    "event", "time", "message", "task", "step", "epoch", "learning_rate", "examples_per_s",
}  # fmt: skip
RUNNING, LOST, FAILED, STOPPED, DONE = "running", "lost", "failed", "stopped", "done"
# (mark, in ASCII, style) by state.
_MARKS = {
    RUNNING: ("●", "*", blocks.GOOD),
    LOST: ("✗", "x", blocks.BAD),
    FAILED: ("✗", "x", blocks.BAD),
    STOPPED: ("↻", "~", blocks.NOTE),
    DONE: ("✓", "+", blocks.GOOD),
}


@dataclasses.dataclass
class _Task:
    state: str = RUNNING
    doing: str = "starting"
    starts: int = 0
    why: str = ""  # It is lost, or was when it last started.


class Rate:
    """How fast a count grows, over the last `_RATE_WINDOW_S`."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._seen: collections.deque[tuple[float, float]] = collections.deque()

    def see(self, count: float) -> None:
        now = self._clock()
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()  # It has resumed at an earlier step.
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] > _RATE_WINDOW_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """0 while it is unknown."""
        if len(self._seen) < 2:
            return 0.0
        (since, first), (until, last) = self._seen[0], self._seen[-1]
        if (now := self._clock()) - until > until - since:
            until = now  # It is stalled.
        return (last - first) / max(until - since, 1e-9)


class TrainingView:
    """Feed it every event, in order; `rows` is what to show now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._progress: Mapping[str, Any] = {}
        self._figures: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, _Task] = {}
        self._steps, self._examples = Rate(clock), Rate(clock)

    def feed(self, event: Mapping[str, Any]) -> None:
        name, task = event["event"], event.get("task")
        if name == "task":
            self._change_task(str(task), event)
        elif name == "progress":
            self._advance(task, event)
        elif name in _FIGURES:
            self._figures[name] = {k: v for k, v in event.items() if k not in _NOT_METRICS}

    def rows(self, width: int, is_ascii: bool = False) -> list[RenderableType]:
        if not (self._progress or self._tasks):
            return []
        rows = [*self._training_rows(width)]
        if self._tasks:
            rows.append(self._task_rows(is_ascii))
        return rows

    def _change_task(self, name: str, event: Mapping[str, Any]) -> None:
        task = self._tasks.setdefault(name, _Task())
        task.state = event["state"]
        if task.state == RUNNING:
            task.starts += 1
            task.doing = "starting"
        task.why = str(event.get("why") or task.why)

    def _advance(self, name: str | None, event: Mapping[str, Any]) -> None:
        if name in self._tasks:
            step = f" step {event['step']:,}" if event.get("step") is not None else ""
            self._tasks[name].doing = f"{event['doing']}{step}"
            if name != next(iter(self._tasks)):
                return  # The leader is the first, and the progress is the run's.
        if "total_steps" in event:
            self._progress = event
            self._steps.see(event["step"])
            self._examples.see(event["examples"])
        elif "total_steps" not in self._progress:
            self._progress = event

    def _training_rows(self, width: int) -> Iterator[RenderableType]:
        now = self._progress
        if "total_steps" in now:
            total = now["total_steps"] or 1
            parts = [
                Text(f"step {now['step']:,}/{total:,}", style="bold"),
                Text(f"epoch {now['epoch']:.2f}"),
            ]
            if rate := self._examples.per_s:
                parts.append(Text(f"{format_metric(rate).removesuffix('.00')} examples/s"))
            if rate := self._steps.per_s:
                left_s = max(total - now["step"], 0) / rate
                parts.append(Text(f"{format_duration(left_s)} left"))
            if not self._tasks:
                parts.append(Text(now["doing"], style=blocks.DIM))
            room = width - blocks.bar_columns(width) - 2
            yield blocks.beside(blocks.bar(now["step"] / total, width), blocks.flow(parts, room))
        elif "share" in now:
            text = Text(f"{now['share']:4.0%}  {printable(str(now['doing']))}")
            yield blocks.beside(blocks.bar(now["share"], width), [text])
        elif now and not self._tasks:
            yield Text(printable(str(now["doing"])), style=blocks.DIM)
        for name in _FIGURES:
            if parts := blocks.metric_parts(self._figures.get(name, {})):
                parts[0] = Text.assemble((f"{name:<10} ", blocks.DIM), parts[0])
                yield from blocks.flow(parts, width, indent=11)

    def _task_rows(self, is_ascii: bool) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        for _ in range(3):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        # Where they do not all fit, those that are not well come first.
        is_well = {RUNNING: 1, DONE: 1}
        for name, task in sorted(self._tasks.items(), key=lambda one: is_well.get(one[1].state, 0)):
            mark, ascii_mark, style = _MARKS[task.state]
            grid.add_row(
                Text(ascii_mark if is_ascii else mark, style=style), name, self._described(task)
            )
        return grid

    def _described(self, task: _Task) -> Text:
        if task.state in (LOST, FAILED):
            return Text(f"{task.state}: {printable(task.why)}", style=blocks.BAD)
        if task.state == STOPPED:
            why = f", as {printable(task.why)}" if task.why else ""
            return Text(f"stopped{why}", style=blocks.NOTE)
        text = Text("done" if task.state == DONE else printable(task.doing))
        if task.starts > 1:
            times = "once" if task.starts == 2 else f"{task.starts - 1} times"
            text.append(f"  restarted {times}", style=blocks.NOTE)
            text.append(f" ({printable(task.why)})" if task.why else "", style=blocks.DIM)
        return text
