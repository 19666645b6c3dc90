"""How is the time of a run's tasks shown?

Each task gets a bar, on one axis of wall time without pauses between an orderly end and the next start,
and a column in a table of its phases. What happened is listed by the clock.
"""

import datetime
from collections.abc import Iterator, Sequence
from typing import Any

from trainer.reporting.format import format_duration
from trainer.reporting.goodput import ALL_PHASES, TaskTime
from trainer.reporting.report import charts

_BINS = 160
_MAX_TASKS = 16  # In the table and as bars; a page with more would not be read.
_MAX_EVENTS = 200
_TOGETHER_S = 5.0  # What several tasks report within this time is one line.
_ORDERLY = ("finished", "stopped")
_NOTES = {
    "start": "imports, data, building the model, restoring a checkpoint",
    "wait": "for the other tasks, at the start and at the end",
    "compile": "the first call of each compiled function",
    "input": "until the next batches were ready",
    "compute": "steps",
    "exchange": "gradients, with waiting for slower workers",
    "evaluate": "on the validation or test split",
    "save": "until training could continue; a thread writes the files",
    "serve": "as a parameter server, or as a worker of one",
    "other": "logs, metrics and the rest",
    "lost": "steps that had to be repeated",
    "away": "from the end of a killed start to the next one",
}


def view(tasks: Sequence[TaskTime]) -> dict[str, Any]:
    """What the template needs; empty where no task has recorded its time."""
    tasks = list(tasks)[:_MAX_TASKS]
    if not tasks:
        return {}
    pieces = _covered(tasks)
    name = {"worker 0": "process"} if len(tasks) == 1 else {}
    times = [event.time for task in tasks for event in task.events] or [pieces[0][0]]
    began, ended = min(*times, pieces[0][0]), max(*times, pieces[-1][1])
    return {
        "goodput": f"{tasks[0].goodput:.1%}",
        "wall": format_duration(tasks[0].wall_s),
        "starts": tasks[0].starts,
        "tasks": [
            {"name": name.get(task.task, task.task), "strip": _strip(task, pieces)}
            for task in tasks
        ],
        "clock_began": _clock(began),
        "clock_ended": _clock(ended, since=began),
        "phases": _phases(tasks),
        "events": _events(tasks),
        "has_faults": any(
            event.kind in ("lost", "skipped") for task in tasks for event in task.events
        ),
    }


def _covered(tasks: Sequence[TaskTime]) -> list[tuple[float, float]]:
    """The pieces of wall time in which any task ran."""
    spans = sorted((span.began, span.ended) for task in tasks for span in task.spans)
    pieces = [spans[0]]
    for began, ended in spans[1:]:
        if began <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(pieces[-1][1], ended))
        else:
            pieces.append((began, ended))
    return pieces


def _place(time: float, pieces: Sequence[tuple[float, float]]) -> float:
    """From 0 to 1, without what is between the pieces."""
    total = sum(ended - began for began, ended in pieces) or 1.0
    before = sum(min(max(time - began, 0.0), ended - began) for began, ended in pieces)
    return before / total


def _strip(task: TaskTime, pieces: Sequence[tuple[float, float]]) -> str:
    bins: list[dict[str, float]] = [{} for _ in range(_BINS)]
    for span in task.spans:
        began, ended = (_place(one, pieces) * _BINS for one in (span.began, span.ended))
        total = sum(span.seconds.values()) or 1.0
        for index in range(int(began), min(int(ended) + 1, _BINS)):
            part = min(ended, index + 1) - max(began, index)
            for phase, seconds in span.seconds.items() if part > 0 else ():
                bins[index][phase] = bins[index].get(phase, 0.0) + part * seconds / total
    drawn = [piece for first, end, bin in _merged(bins) for piece in _stacked(first, end, bin)]
    marks = [
        (_place(event.time, pieces), f"m-{event.kind}", _text(event.kind, event.text, event.step))
        for index, event in enumerate(task.events)
        if event.kind in ("lost", "skipped") or (event.kind == "start" and index)
    ]
    parts = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in task.seconds.items())
    return charts.strip(drawn, f"Time of {task.task}: {parts}", marks)


def _merged(bins: Sequence[dict[str, float]]) -> Iterator[tuple[int, int, dict[str, float]]]:
    """(first, end, seconds by phase): neighbours that one phase fills are one."""
    first = 0
    for index in range(1, len(bins) + 1):
        is_same = (
            index < len(bins) and len(bins[first]) == 1 and bins[index].keys() == bins[first].keys()
        )
        if not is_same:
            yield first, index, bins[first]
            first = index


def _stacked(first: int, end: int, seconds: dict[str, float]) -> Iterator[charts.Piece]:
    """The phases of a bin above each other, by their parts of it."""
    total, top = sum(seconds.values()), 0.0
    for phase in sorted(seconds, key=ALL_PHASES.index):
        bottom = top + seconds[phase] / total
        yield charts.Piece(first / _BINS, end / _BINS, f"p-{phase}", top, bottom)
        top = bottom


def _phases(tasks: Sequence[TaskTime]) -> list[dict[str, Any]]:
    present = [phase for phase in ALL_PHASES if any(phase in task.seconds for task in tasks)]
    return [
        {
            "name": phase,
            "note": _NOTES[phase],
            "seconds": [_share(task, phase) for task in tasks],
        }
        for phase in present
    ]


def _share(task: TaskTime, phase: str) -> str:
    seconds = task.seconds.get(phase, 0.0)
    shown = f"{seconds:.2f} s" if seconds < 60 else format_duration(seconds)
    return f"{shown} · {seconds / (task.wall_s or 1.0):.0%}" if seconds else "–"


def _events(tasks: Sequence[TaskTime]) -> list[dict[str, str]]:
    """What happened, by the clock; what several tasks report together is one line."""
    found: list[tuple[float, str, str, list[str]]] = []
    for task in tasks:
        for index, event in enumerate(task.events):
            if event.kind == "resume" and not event.step:
                continue
            text = _text(event.kind, event.text, event.step)
            text = "started again" if event.kind == "start" and index else text
            same = [
                one for one in found if one[2] == text and abs(one[0] - event.time) < _TOGETHER_S
            ]
            if same:
                same[0][3].append(task.task)
            else:
                is_failure = event.kind == "end" and event.text not in _ORDERLY
                kind = "failed" if is_failure else event.kind
                found.append((event.time, kind, text, [task.task]))
    shown = []
    for time, kind, text, names in sorted(found)[:_MAX_EVENTS]:
        who = "all" if len(names) == len(tasks) else ", ".join(dict.fromkeys(names))
        prefix = f"{who}: " if len(tasks) > 1 else ""
        shown.append({"kind": kind, "clock": _clock(time), "text": prefix + text})
    return shown


def _text(kind: str, text: str, step: int) -> str:
    return {
        "start": "started",
        "resume": f"resumed at step {step:,}",
        "skipped": f"skipped the batch of step {step:,}",
        "lost": text,
        "end": text if text in _ORDERLY else f"failed: {text}",
    }.get(kind, f"{kind} {text}".strip())


def _clock(time: float, since: float = 0.0) -> str:
    """The date and time; only the time on the same day as `since`."""
    moment = datetime.datetime.fromtimestamp(time)
    is_same_day = moment.date() == datetime.datetime.fromtimestamp(since).date()
    return moment.strftime("%H:%M:%S" if is_same_day else "%Y-%m-%d %H:%M:%S")
