"""How was the wall time of a run spent, over all its starts?

`of_run` adds up what `trainer/metrics/timeline.py` has recorded for each task. Two things are known only
afterwards: which steps were lost, because a later start resumed before them, and how long a killed task
was away. Goodput is the part of the time in which steps were computed and exchanged that count.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any

from trainer.metrics.timeline import PHASES
from trainer.storage.safe_reading import parse_json, read_bytes

LOST, AWAY = "lost", "away"
ALL_PHASES = (*PHASES, LOST, AWAY)
_USEFUL = ("compute", "exchange")


@dataclasses.dataclass
class Span:
    """A short piece of a task's time, by phase; it took the steps (first_step, end_step]."""

    began: float
    ended: float
    seconds: dict[str, float]
    first_step: int = 0
    end_step: int = 0


@dataclasses.dataclass
class Event:
    """Something that happened: start, resume, lost, skipped or end."""

    time: float
    kind: str
    text: str = ""
    step: int = 0


@dataclasses.dataclass
class TaskTime:
    """How one task has spent its time. `spans` are in the order of time, over all starts."""

    task: str
    spans: list[Span] = dataclasses.field(default_factory=list)
    events: list[Event] = dataclasses.field(default_factory=list)

    @property
    def seconds(self) -> dict[str, float]:
        """By phase, in their order, without those that took none."""
        total = dict.fromkeys(ALL_PHASES, 0.0)
        for span in self.spans:
            for phase, seconds in span.seconds.items():
                total[phase] = total.get(phase, 0.0) + seconds
        return {phase: seconds for phase, seconds in total.items() if seconds > 0}

    @property
    def wall_s(self) -> float:
        """Without the time between an orderly end and the next start."""
        return sum(self.seconds.values())

    @property
    def goodput(self) -> float:
        useful = sum(self.seconds.get(phase, 0.0) for phase in _USEFUL)
        return useful / self.wall_s if self.wall_s else 0.0

    @property
    def starts(self) -> int:
        return sum(event.kind == "start" for event in self.events)

    def as_json(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "goodput": round(self.goodput, 4),
            "wall_s": round(self.wall_s, 3),
            "starts": self.starts,
            "seconds": {phase: round(seconds, 3) for phase, seconds in self.seconds.items()},
        }


def of_run(folder: pathlib.Path) -> list[TaskTime]:
    """The tasks of the run in `folder`, the one that writes first; none where nothing is recorded."""
    found = [of_task(path) for path in sorted(folder.glob("timeline-*.jsonl"))]
    return sorted((one for one in found if one.spans), key=lambda one: _order(one.task))


def _order(task: str) -> tuple[int, str, int]:
    job, _, index = task.partition(" ")
    return job != "chief", job, int(index) if index.isdigit() else 0


def of_task(path: pathlib.Path) -> TaskTime:
    """What the file of one task has. Lines that are damaged are left out."""
    found = TaskTime(path.stem.removeprefix("timeline-").replace("-", " "))
    at, step, is_running = 0.0, 0, False
    for record in _records(path):
        now = max(float(record["time"]), at)
        kind = record.get("event", "")
        if kind:
            found.events.append(Event(now, kind, str(record.get("text", "")), _step(record)))
        if kind == "start":
            now = float(record["time"])
            if is_running and now > at:  # The earlier start did not come to an end of its own.
                found.spans.append(Span(at, now, {AWAY: now - at}, step, step))
            at, is_running = now, True
        elif kind == "resume":
            step = _step(record)
            _lose(found.spans, step)
        elif kind == "end":
            is_running = False
        elif not kind:
            seconds = {str(name): max(0.0, float(s)) for name, s in record["seconds"].items()}
            # At a step that was repeated by another task's wish it may be lower.
            end = max(step, _step(record))
            found.spans.append(Span(at, now, seconds, step, end))
            at, step = now, end
    return found


def _lose(spans: list[Span], step: int) -> None:
    """Marks what was computed beyond `step` as lost."""
    for span in reversed(spans):
        if span.end_step <= step and span.end_step > span.first_step:
            return
        if span.end_step > max(step, span.first_step):
            kept = max(step, span.first_step)
            fraction = (span.end_step - kept) / (span.end_step - span.first_step)
            for phase in _USEFUL:
                part = span.seconds.get(phase, 0.0) * fraction
                if part:
                    span.seconds[phase] -= part
                    span.seconds[LOST] = span.seconds.get(LOST, 0.0) + part
            span.end_step = kept


def _step(record: dict[str, Any]) -> int:
    return int(record.get("step", 0))


def _records(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The lines that have what a line must have."""
    try:
        lines = read_bytes(path).splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        try:
            record = parse_json(line)
            numbers = [record["time"], record.get("step", 0)]
            if not record.get("event"):
                numbers += record["seconds"].values()
            if not all(math.isfinite(number) for number in numbers):
                continue
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
        yield record
