"""What is the sweep doing right now?

On a terminal a block of lines that changes as trials go on; elsewhere a line for a trial that came
further.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from trainer.reporting import format as format_lib
from trainer.reporting.terminal import Block, is_terminal, put
from trainer.tune.search.record import COMPLETED, FAILED, RUNNING, STOPPED, Objective, TrialRecord

_SAY_EVERY_S = 10.0
_BAR_WIDTH = 10
_NUM_METRICS = 3
_MAX_LINE = 200
_COUNTED = {COMPLETED: "done", STOPPED: "stopped", FAILED: "failed", RUNNING: "running"}


class Live:
    """Says lines that stay, and shows what runs. Any thread may call it."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._stream = stream or sys.stdout
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._block = Block(self._stream) if is_terminal(self._stream) else None
        self._first_seen: dict[str, float] = {}
        self._said: dict[str, tuple[float, float]] = {}  # By trial: when, and at which epoch.

    def say(self, line: str) -> None:
        """A line, or some, that stay."""
        lines = [format_lib.printable(one) for one in line.split("\n")]
        with self._lock:
            if self._block:
                self._block.say(lines)
            else:
                put(self._stream, "".join(f"{one}\n" for one in lines))

    def show(
        self,
        records: Sequence[TrialRecord],
        planned: int | None,
        best: TrialRecord | None,
        objective: Objective,
    ) -> None:
        """How things stand; call it as often as anybody looks."""
        running = [record for record in records if record.status == RUNNING]
        told = _told(best, objective)
        with self._lock:
            if self._block:
                seconds = [self._seconds(record) for record in running]
                lines = [_head(records, planned, told, self._clock() - self._began)]
                lines += map(_line, running, seconds, [objective] * len(running))
                self._block.draw(lines, "" if "NO_COLOR" in os.environ else told)
            else:
                news = self._news(running)
                put(self._stream, "".join(_news_line(one, objective, told) for one in news))

    def close(self) -> None:
        """Takes the block off the screen."""
        with self._lock:
            if self._block:
                self._block.clear()

    def _seconds(self, record: TrialRecord) -> float:
        """Spent on a trial, also where nothing was noted since it began."""
        seen = self._first_seen.setdefault(record.id, self._clock())
        return max(record.seconds, self._clock() - seen)

    def _news(self, running: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
        """Those that came further since they were last told of, each of them now and then."""
        now = self._clock()
        for record in running:
            when, epoch = self._said.get(record.id, (-_SAY_EVERY_S, 0.0))
            if record.epoch > epoch and now - when >= _SAY_EVERY_S:
                self._said[record.id] = now, record.epoch
                yield record


def _told(best: TrialRecord | None, objective: Objective) -> str:
    if best is None:
        return ""
    return f"best {objective.name} {format_lib.figure(best.objective)} by trial {best.id}"


def _head(records: Sequence[TrialRecord], planned: int | None, told: str, seconds: float) -> str:
    """`16 trials | 5 done, 1 failed, 2 running | best test_accuracy 0.9633 by trial 0003 | 34 s`"""
    statuses = [record.status for record in records]
    counts = [
        f"{statuses.count(status)} {word}"
        for status, word in _COUNTED.items()
        if status in statuses
    ]
    parts = [
        f"{planned or len(records)} trials",
        ", ".join(counts),
        told,
        format_lib.duration(seconds),
    ]
    return " | ".join(part for part in parts if part)


def _line(record: TrialRecord, seconds: float, objective: Objective) -> str:
    """`0003 [===-------]    6/20  test_accuracy 0.9512  34 s  learning_rate=0.003`"""
    share = min(record.epoch / record.epochs, 1.0) if record.epochs else 0.0
    bar = "=" * int(share * _BAR_WIDTH)
    parts = [
        f"{record.id} [{bar:-<{_BAR_WIDTH}}] {_progress(record):>7}",
        *_metrics(record, objective),
    ]
    parts += [format_lib.duration(seconds), format_lib.values(record.values)]
    return format_lib.printable("  ".join(parts))


def _news_line(record: TrialRecord, objective: Objective, told: str) -> str:
    """`trial 0003 | epoch 6/20 | test_accuracy 0.9512 | learning_rate=0.003 | best …`"""
    parts = [f"trial {record.id}", f"epoch {_progress(record)}", *_metrics(record, objective)]
    parts += [told, format_lib.values(record.values)]
    return format_lib.line(" | ".join(part for part in parts if part), _MAX_LINE) + "\n"


def _progress(record: TrialRecord) -> str:
    return f"{record.epoch:.4g}" + (f"/{record.epochs:.4g}" if record.epochs else "")


def _metrics(record: TrialRecord, objective: Objective) -> list[str]:
    """The newest figures, the one that is sought first."""
    names = sorted(record.metrics, key=lambda name: name != objective.name)
    return [f"{name} {format_lib.figure(record.metrics[name])}" for name in names[:_NUM_METRICS]]
