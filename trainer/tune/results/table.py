"""What did the sweep come to, for people and programs?"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.reporting import format as format_lib
from trainer.storage.atomic_files import to_json, write_file
from trainer.tune.search.record import (
    COMPLETED,
    FAILED,
    RUNNING,
    STOPPED,
    Objective,
    TrialRecord,
    best,
)

_WIDTH = 120
_RANKS = {COMPLETED: 0, STOPPED: 1, RUNNING: 2}


def write(
    folder: pathlib.Path,
    objective: Objective,
    records: Sequence[TrialRecord],
    best_config: str | None,
) -> None:
    """Writes trials.json, a trial a line, and best_config.json where there is a best.

    Raises:
      WorkdirError: they cannot be written.
    """
    top = best(objective, ranking(objective, records))  # Which has nan last.
    lines = (to_json(_as_json(record) | {"best": record is top}) for record in in_order(records))
    # A line for each trial: that is quick to write, as it is after every trial, and easy to grep.
    write_file(folder / "trials.json", "[\n" + ",\n".join(lines) + "\n]\n")
    if best_config is not None:
        write_file(folder / "best_config.json", best_config)


def table(
    objective: Objective, records: Sequence[TrialRecord], names: Sequence[str], limit: int = 20
) -> str:
    """The trials, best first and marked, then those that failed; at most 120 columns wide.

    `names` are those of the values to show. Of more than `limit` trials the last are left out, and
    of the failed ones all but a few.
    """
    ranked = ranking(objective, records)
    failed = [record for record in in_order(records) if record.status == FAILED]
    shown, said = ranked[:limit], failed[: max(limit // 4, 1)]
    lines = _ranked_lines(objective, shown, names, best(objective, ranked)) if shown else []
    lines += [_failed_line(record) for record in said]
    if left := len(records) - len(shown) - len(said):
        lines.append(f"  and {left} more in trials.json")
    return "\n".join(lines) or "  no trial yet"


def in_order(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The records in the order of their ids, 9999 before 10000."""
    return sorted(records, key=_place)


def ranking(objective: Objective, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that did not fail: the completed, the stopped and the running, best first in each."""
    sign = -1 if objective.direction == "max" else 1

    def key(record: TrialRecord) -> tuple:
        figure = record.objective
        known = figure is not None and figure == figure
        return _RANKS[record.status], not known, sign * figure if known else 0, _place(record)

    return sorted((one for one in records if one.status != FAILED), key=key)


def _place(record: TrialRecord) -> tuple[int, str]:
    return len(record.id), record.id


def _as_json(record: TrialRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "values": dict(record.values),
        "objective": record.objective,
        "status": record.status,
        "error": record.error,
        "seconds": round(record.seconds, 3),
        "epoch": record.epoch,
        "epochs": record.epochs,
        "continues": record.continues,
        "metrics": dict(record.metrics),
        "workdir": record.workdir,
    }


def _ranked_lines(
    objective: Objective,
    records: Sequence[TrialRecord],
    names: Sequence[str],
    top: TrialRecord | None,
) -> list[str]:
    head, rows = _figures(objective, records, top)
    values = [[*row, *_cells(record, names)] for row, record in zip(rows, records, strict=True)]
    lines = _aligned([[*head, *format_lib.names(names).values()], *values])
    if max(map(len, lines)) <= _WIDTH:
        return lines
    lines = _aligned([head, *rows])
    indent = max(map(len, lines)) + 2
    texts = ["values", *(format_lib.values(_of(record, names)) for record in records)]
    return [
        f"{line.ljust(indent)}{format_lib.line(text, _WIDTH - indent)}"
        for line, text in zip(lines, texts, strict=True)
    ]


def _figures(
    objective: Objective, records: Sequence[TrialRecord], top: TrialRecord | None
) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of what every sweep has: what it sought, how far and how long."""
    rows = [
        ["*" if record is top else " ", record.id, format_lib.figure(record.objective)]
        + [f"{record.epoch:g}", format_lib.duration(record.seconds), _note(record)]
        for record in records
    ]
    head = [" ", "trial", objective.name, "epochs", "time", "status"]
    if all(record.status == COMPLETED for record in records):
        return head[:-1], [row[:-1] for row in rows]
    return head, rows


def _note(record: TrialRecord) -> str:
    return "" if record.status == COMPLETED else record.status


def _of(record: TrialRecord, names: Sequence[str]) -> Mapping[str, Any]:
    return {name: record.values[name] for name in names if name in record.values}


def _cells(record: TrialRecord, names: Sequence[str]) -> list[str]:
    return [
        format_lib.value(record.values[name]) if name in record.values else "" for name in names
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns as wide as their widest cells, which end below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]


def _failed_line(record: TrialRecord) -> str:
    error = format_lib.line(record.error or "no reason was told", 60)
    said = f"{record.id} failed: {error}  {format_lib.values(record.values)}"
    return f"  {format_lib.line(said, _WIDTH - 2)}"
