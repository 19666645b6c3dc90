"""What is in a JSON Lines file? One JSON object per line, whose keys are the columns.

`jsonl:FILE` or `jsonl:TRAIN,TEST`; each may be a pattern. Values are numbers, text, and lists of numbers,
which may have different lengths (`data.pad_to`).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.fields import short_json
from trainer.data.address import Address
from trainer.data.sources import files, lines
from trainer.data.sources.lines import Lines, LinesTable
from trainer.data.table import Opened, Values


def open_source(address: Address) -> Opened:
    return files.opened(address, "*.jsonl", _table)


def _table(address: Address, paths: list[Path]) -> LinesTable:
    with files.reported(address, paths[0]):
        line, _ = lines.first_line(paths[0])
        names = tuple(_row(line, ()))
    return LinesTable(address, names, tuple(lines.of_all(paths)), _parse)


def _parse(table: LinesTable, where: Lines, names: Sequence[str]) -> dict[str, Values]:
    rows = [_row(line, names) for line in where.read().splitlines() if line.strip()]
    return {name: _column(name, [row[name] for row in rows]) for name in names}


def _row(line: bytes, names: Sequence[str]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except RecursionError:
        raise ValueError("a line is nested too deeply") from None
    if not isinstance(row, dict) or not row:
        raise ValueError(f"each line must be an object, not {short_json(row)}")
    if missing := [name for name in names if name not in row]:
        raise ValueError(f"a line has no {', '.join(missing)}: {short_json(row)}")
    return row


def _column(name: str, found: list[Any]) -> Values:
    if any(isinstance(value, list) for value in found):
        rows = [np.asarray(value) for value in found]
        if wrong := [row for row in rows if row.dtype.kind not in "fiub" or not row.ndim]:
            raise ValueError(
                f"{name} must be a list of numbers in each line, not {wrong[0].tolist()!r}"
            )
        return rows
    if any(isinstance(value, str) for value in found):
        if wrong := [value for value in found if not isinstance(value, str)]:
            raise ValueError(f"{name} must be text in each line, not {short_json(wrong[0])}")
        return np.array(found, np.str_)
    if wrong := [value for value in found if not isinstance(value, int | float | None)]:
        raise ValueError(f"{name} must be numbers, text or lists, not {short_json(wrong[0])}")
    return np.array([np.nan if value is None else value for value in found])
