"""What is the sweep doing right now?

`SweepProgress` reports it as an event where a live view or a program follows the sweep. In a log it
prints a line when a trial has made progress.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from trainer.process import console, event_stream
from trainer.reporting.format import format_metric, format_values, one_line, printable
from trainer.tune.search.record import RUNNING, Objective, TrialRecord

_REPORT_INTERVAL_S = 10.0  # For each trial, in a log.
_NUM_METRICS = 3
_MAX_LINE = 200


class SweepProgress:
    """Prints lines that stay, and shows the running trials."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """`clock` returns seconds."""
        self._clock = clock
        self._reported: dict[str, tuple[float, float]] = {}  # By trial: (time, epoch).

    def print_line(self, text: str) -> None:
        """Prints one or more lines, which stay. Safe to call from any thread."""
        console.print_progress("\n".join(printable(line) for line in text.split("\n")))

    def update(
        self,
        records: Sequence[TrialRecord],
        num_trials: int | None,
        best: TrialRecord | None,
        objective: Objective,
    ) -> None:
        """Shows the current state. May be called at any rate."""
        running = [record for record in records if record.status == RUNNING]
        if event_stream.is_on():
            event_stream.write(_sweep_event(records, running, num_trials, best, objective))
        else:
            for one in self._due(running):
                console.print_progress(_log_line(one, objective, _best_text(best, objective)))

    def _due(self, running: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
        """The trials with progress since their last line, each at most once per interval."""
        now = self._clock()
        for record in running:
            reported_at, epoch = self._reported.get(record.id, (-_REPORT_INTERVAL_S, 0.0))
            if record.epoch > epoch and now - reported_at >= _REPORT_INTERVAL_S:
                self._reported[record.id] = now, record.epoch
                yield record


def _sweep_event(
    records: Sequence[TrialRecord],
    running: Sequence[TrialRecord],
    num_trials: int | None,
    best: TrialRecord | None,
    objective: Objective,
) -> dict[str, Any]:
    ended = [record.status for record in records if record.status != RUNNING]
    return {
        "event": "sweep",
        "trials": num_trials,
        "ended": {status: ended.count(status) for status in dict.fromkeys(ended)},
        "best": _best_text(best, objective),
        "running": [
            {
                "id": record.id,
                "epoch": record.epoch,
                "epochs": record.epochs,
                "metrics": _newest_metrics(record, objective),
                "seconds": record.seconds,
                "values": record.values,
            }
            for record in running
        ],
    }


def _best_text(best: TrialRecord | None, objective: Objective) -> str:
    if best is None:
        return ""
    return f"best {objective.name} {format_metric(best.objective)} by trial {best.id}"


def _log_line(record: TrialRecord, objective: Objective, best_text: str) -> str:
    """`trial 0003 | epoch 6/20 | test_accuracy 0.9512 | best ... | learning_rate=0.003`"""
    of = f"/{record.epochs:.4g}" if record.epochs else ""
    metrics = _newest_metrics(record, objective)
    parts = [
        f"trial {record.id}",
        f"epoch {record.epoch:.4g}{of}",
        *(f"{name} {format_metric(value)}" for name, value in metrics.items()),
    ]
    parts += [best_text, format_values(record.values)]
    return one_line(" | ".join(part for part in parts if part), _MAX_LINE)


def _newest_metrics(record: TrialRecord, objective: Objective) -> dict[str, float]:
    """With the objective first."""
    names = sorted(record.metrics, key=lambda name: name != objective.name)
    return {name: record.metrics[name] for name in names[:_NUM_METRICS]}
