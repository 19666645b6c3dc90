"""What is the sweep doing right now?

On a terminal `LiveProgress` draws a block of lines, one per running trial. On any other stream it prints
a line when a trial has made progress.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from trainer.reporting.format import (
    format_duration,
    format_metric,
    format_values,
    one_line,
    printable,
)
from trainer.reporting.terminal import Block, is_terminal, write
from trainer.tune.search.record import COMPLETED, FAILED, RUNNING, STOPPED, Objective, TrialRecord

_REPORT_INTERVAL_S = 10.0  # For each trial, where there is no terminal.
_BAR_WIDTH = 10
_NUM_METRICS = 3
_MAX_LINE = 200
_STATUS_LABELS = {COMPLETED: "done", STOPPED: "stopped", FAILED: "failed", RUNNING: "running"}


class LiveProgress:
    """Prints permanent lines and shows the running trials. Safe to call from any thread."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        """`stream`: by default stdout. `clock` returns seconds."""
        self._stream = stream or sys.stdout
        self._clock = clock
        self._started_at = clock()
        self._lock = threading.Lock()
        self._block = Block(self._stream) if is_terminal(self._stream) else None
        self._first_seen: dict[str, float] = {}
        self._reported: dict[str, tuple[float, float]] = {}  # By trial: (time, epoch).

    def print_line(self, text: str) -> None:
        """Prints one or more lines, which stay."""
        lines = [printable(line) for line in text.split("\n")]
        with self._lock:
            if self._block:
                self._block.print_above(lines)
            else:
                write(self._stream, "".join(f"{line}\n" for line in lines))

    def update(
        self,
        records: Sequence[TrialRecord],
        num_trials: int | None,
        best: TrialRecord | None,
        objective: Objective,
    ) -> None:
        """Shows the current state. May be called at any rate."""
        running = [record for record in records if record.status == RUNNING]
        best_text = _best_text(best, objective)
        with self._lock:
            if self._block:
                elapsed_s = self._clock() - self._started_at
                lines = [_head_line(records, num_trials, best_text, elapsed_s)]
                lines += [_trial_line(one, self._seconds(one), objective) for one in running]
                self._block.draw(lines, "" if "NO_COLOR" in os.environ else best_text)
            else:
                due = self._due(running)
                write(self._stream, "".join(_log_line(one, objective, best_text) for one in due))

    def close(self) -> None:
        """Removes the block from the terminal."""
        with self._lock:
            if self._block:
                self._block.clear()

    def _seconds(self, record: TrialRecord) -> float:
        """The time spent on a trial, also if it has not reported anything since it started."""
        first_seen = self._first_seen.setdefault(record.id, self._clock())
        return max(record.seconds, self._clock() - first_seen)

    def _due(self, running: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
        """The trials with progress since their last line, each at most once per interval."""
        now = self._clock()
        for record in running:
            reported_at, epoch = self._reported.get(record.id, (-_REPORT_INTERVAL_S, 0.0))
            if record.epoch > epoch and now - reported_at >= _REPORT_INTERVAL_S:
                self._reported[record.id] = now, record.epoch
                yield record


def _best_text(best: TrialRecord | None, objective: Objective) -> str:
    if best is None:
        return ""
    return f"best {objective.name} {format_metric(best.objective)} by trial {best.id}"


def _head_line(
    records: Sequence[TrialRecord], num_trials: int | None, best_text: str, elapsed_s: float
) -> str:
    """`16 trials | 5 done, 1 failed, 2 running | best test_accuracy 0.9633 by trial 0003 | 34 s`"""
    statuses = [record.status for record in records]
    counts = [
        f"{statuses.count(status)} {label}"
        for status, label in _STATUS_LABELS.items()
        if status in statuses
    ]
    parts = [
        f"{num_trials or len(records)} trials",
        ", ".join(counts),
        best_text,
        format_duration(elapsed_s),
    ]
    return " | ".join(part for part in parts if part)


def _trial_line(record: TrialRecord, seconds: float, objective: Objective) -> str:
    """`0003 [===-------]    6/20  test_accuracy 0.9512  34 s  learning_rate=0.003`"""
    share = min(record.epoch / record.epochs, 1.0) if record.epochs else 0.0
    bar = "=" * int(share * _BAR_WIDTH)
    parts = [
        f"{record.id} [{bar:-<{_BAR_WIDTH}}] {_epochs_text(record):>7}",
        *_metric_texts(record, objective),
    ]
    parts += [format_duration(seconds), format_values(record.values)]
    return printable("  ".join(parts))


def _log_line(record: TrialRecord, objective: Objective, best_text: str) -> str:
    """`trial 0003 | epoch 6/20 | test_accuracy 0.9512 | best ... | learning_rate=0.003`"""
    parts = [
        f"trial {record.id}",
        f"epoch {_epochs_text(record)}",
        *_metric_texts(record, objective),
    ]
    parts += [best_text, format_values(record.values)]
    return one_line(" | ".join(part for part in parts if part), _MAX_LINE) + "\n"


def _epochs_text(record: TrialRecord) -> str:
    return f"{record.epoch:.4g}" + (f"/{record.epochs:.4g}" if record.epochs else "")


def _metric_texts(record: TrialRecord, objective: Objective) -> list[str]:
    """The newest metrics, with the objective first."""
    names = sorted(record.metrics, key=lambda name: name != objective.name)
    return [f"{name} {format_metric(record.metrics[name])}" for name in names[:_NUM_METRICS]]
