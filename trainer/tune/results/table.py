"""What is the result of the sweep, for people and for programs?

`format_table` makes the table of trials that is printed at the end. `write_results` writes `trials.json`
and `best_config.json`.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.process.standard_json import to_json
from trainer.reporting.format import (
    align,
    format_duration,
    format_metric,
    format_value,
    format_values,
    one_line,
    short_names,
)
from trainer.storage.atomic_files import write_file
from trainer.tune.search.record import (
    COMPLETED,
    FAILED,
    MEASURED,
    RUNNING,
    STOPPED,
    Objective,
    TrialRecord,
    best,
)

_WIDTH = 120
Line = tuple[TrialRecord, str]  # The trial, and its line in trials.json.
_RANKS = {COMPLETED: 0, STOPPED: 1, RUNNING: 2}


def write_results(
    folder: pathlib.Path,
    objective: Objective,
    records: Sequence[TrialRecord],
    best_config: str | None,
    lines: dict[str, Line] | None = None,
) -> None:
    """Writes trials.json, one trial per line, and best_config.json if `best_config` is not None.

    `lines`: those of the last call, by the trial's id. Only what has changed since is made again.

    Raises:
      WorkdirError: the files cannot be written.
    """
    lines = {} if lines is None else lines
    ordered = in_order(records)
    numbers = (one for one in ordered if one.objective is None or not math.isnan(one.objective))
    top = best(objective, numbers)
    texts = (
        f'{_line(record, lines)}, "best": {"true" if record is top else "false"}}}'
        for record in ordered
    )
    # One line per trial is easy to grep, and quick to write, as it is written after every trial.
    write_file(folder / "trials.json", "[\n" + ",\n".join(texts) + "\n]\n")
    if best_config is not None:
        write_file(folder / "best_config.json", best_config)


def format_table(
    objective: Objective, records: Sequence[TrialRecord], names: Sequence[str], limit: int = 20
) -> str:
    """The trials, best first and marked with *, then the failed ones; at most 120 columns wide.

    `names` are the dimensions to show. At most `limit` ranked trials and `limit // 4` failed ones are
    shown.
    """
    ranked = rank(objective, records)
    failed = [record for record in in_order(records) if record.status == FAILED]
    shown, shown_failed = ranked[:limit], failed[: max(limit // 4, 1)]
    lines = _ranked_lines(objective, shown, names, best(objective, ranked)) if shown else []
    lines += [_failed_line(record) for record in shown_failed]
    if omitted := len(records) - len(shown) - len(shown_failed):
        lines.append(f"  and {omitted} more in trials.json")
    return "\n".join(lines) or "  no trials yet"


def in_order(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The records ordered by id, 9999 before 10000."""
    return sorted(records, key=_id_key)


def rank(objective: Objective, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that did not fail: first the completed, then the stopped, then the running ones.

    In each group the best trial is first, and trials without an objective, or with NaN, are last.
    """
    sign = -1 if objective.direction == "max" else 1

    def key(record: TrialRecord) -> tuple:
        value = record.objective
        if value is None or math.isnan(value):
            return _RANKS[record.status], True, 0, _id_key(record)
        return _RANKS[record.status], False, sign * value, _id_key(record)

    return sorted((record for record in records if record.status != FAILED), key=key)


def _id_key(record: TrialRecord) -> tuple[int, str]:
    return len(record.id), record.id


def _line(record: TrialRecord, lines: dict[str, Line]) -> str:
    """The trial as JSON, open at its end."""
    known, text = lines.get(record.id, (None, ""))
    if known is not record:
        text = to_json(_as_json(record)).removesuffix("}")
        lines[record.id] = record, text
    return text


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
    """One column per value if that fits, else all values of a trial in one column."""
    head, rows = _common_columns(objective, records, top)
    cells = [
        [*row, *_value_cells(record, names)] for row, record in zip(rows, records, strict=True)
    ]
    lines = align([[*head, *short_names(names).values()], *cells])
    if max(map(len, lines)) <= _WIDTH:
        return lines
    lines = align([head, *rows])
    indent = max(map(len, lines)) + 2
    texts = ["values", *(format_values(_values(record, names)) for record in records)]
    return [
        f"{line.ljust(indent)}{one_line(text, _WIDTH - indent)}"
        for line, text in zip(lines, texts, strict=True)
    ]


def _common_columns(
    objective: Objective, records: Sequence[TrialRecord], top: TrialRecord | None
) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the columns that do not depend on the space."""
    rows = [
        ["*" if record is top else " ", record.id, format_metric(record.objective)]
        + [f"{record.epoch:g}", format_duration(record.seconds), _status_note(record)]
        for record in records
    ]
    head = [" ", "trial", objective.name, "epochs", "time", "status"]
    if all(record.status == COMPLETED for record in records):
        return head[:-1], [row[:-1] for row in rows]
    return head, rows


def _status_note(record: TrialRecord) -> str:
    return "" if record.status == COMPLETED else record.status


def _values(record: TrialRecord, names: Sequence[str]) -> Mapping[str, Any]:
    return {name: record.values[name] for name in names if name in record.values}


def _value_cells(record: TrialRecord, names: Sequence[str]) -> list[str]:
    return [format_value(record.values[name]) if name in record.values else "" for name in names]


def figures_of(record: TrialRecord) -> dict[str, float]:
    """The figures on the test examples: {"accuracy": ..., "loss": ...}, the loss last."""
    found = [name for name in record.metrics if name.startswith(MEASURED)]
    found.sort(key=lambda name: name == "test_loss")
    return {name.removeprefix(MEASURED): record.metrics[name] for name in found}


def _failed_line(record: TrialRecord) -> str:
    error = one_line(record.error or "no error was reported", 60)
    text = f"{record.id} failed: {error}  {format_values(record.values)}"
    return f"  {one_line(text, _WIDTH - 2)}"
