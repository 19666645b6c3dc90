"""What is in a CSV file? A column of numbers or text for each name in its first line.

`csv:FILE` or `csv:TRAIN,TEST`; each may be a pattern, as in `csv:part-*.csv`. A value in "quotes" may
contain commas and ends of lines. A number that is missing is reported. A column that has text in the
first 16 MB to train or to test on is text everywhere.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from trainer.config.fields import option
from trainer.data.address import Address
from trainer.data.sources import files, lines
from trainer.data.sources.lines import Lines, LinesTable
from trainer.data.table import Opened, Values, unknown_column


@dataclasses.dataclass(frozen=True)
class Options:
    """How the file is written."""

    delimiter: str = option(
        "comma",
        "between the values of a row",
        choices=("comma", "semicolon", "tab", "space", "pipe"),
    )
    text: str = option("", "columns that are text although they look like numbers, e.g. zip+phone")
    header: bool = option(True, "whether the first line has the names; else they are c0, c1, ...")


_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|"}


def open_source(address: Address) -> Opened:
    opened = files.opened(address, "*.csv", _table)
    tables = cast(Mapping[str, LinesTable], opened.tables)
    # The first piece of each split decides, whatever the others look like.
    text = frozenset(filter(None, address.options.text.split("+"))).union(
        *map(_text_columns, tables.values())
    )
    for table in tables.values():
        for name in sorted(text - {*table.names}):
            raise unknown_column("text", str(address), name, table.names)
    return dataclasses.replace(
        opened,
        tables={split: dataclasses.replace(table, text=text) for split, table in tables.items()},
    )


def _text_columns(table: LinesTable) -> set[str]:
    if not table.pieces:
        return set()
    where = table.pieces[0]
    with files.reported(table.address, where.path):
        found = _read(table, where, table.names)
    return {name for name in table.names if _is_text(found[name].type)}


def _is_text(kind: Any) -> bool:
    """Whether a column has no numbers. Dates are text."""
    import pyarrow as pa

    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return not any(check(kind) for check in checks)


def _read(table: LinesTable, where: Lines, names: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.csv

    return pyarrow.csv.read_csv(
        io.BytesIO(where.read()),
        pyarrow.csv.ReadOptions(use_threads=False, column_names=list(table.names)),
        pyarrow.csv.ParseOptions(
            delimiter=_DELIMITERS[table.address.options.delimiter], newlines_in_values=True
        ),
        pyarrow.csv.ConvertOptions(
            include_columns=list(names),
            timestamp_parsers=[],
            column_types=dict.fromkeys(table.text, pa.string()),
        ),
    )


def _parse(table: LinesTable, where: Lines, names: Sequence[str]) -> dict[str, Values]:
    from trainer.data.sources import arrow

    found = _read(table, where, names)
    for name in names:
        if name not in table.text and _is_text(found[name].type):
            raise table.address.error(
                f"must have numbers in column {name} of every file, as in the first rows",
                f"text in {where.path}",
                f"correct it, or add `,text={name}`",
            )
    return {name: arrow.values(str(table.address), name, found[name]) for name in names}


def _table(address: Address, paths: Sequence[Path]) -> LinesTable:
    names: tuple[str, ...] = ()
    pieces: list[Lines] = []
    for path in paths:
        with files.reported(address, path):
            line, start = lines.first_line(path, quotes=True)
            text = line.decode("utf-8-sig")
            found = next(csv.reader([text], delimiter=_DELIMITERS[address.options.delimiter]), [])
        if not address.options.header:
            found, start = [f"c{index}" for index in range(len(found))], 0
        if not found or len({*found}) < len(found) or (names and tuple(found) != names):
            raise address.error(
                "must have the same names, each once, in the first line of each file",
                f"{', '.join(found) or 'none'} in {path}",
                "correct it, or add `,header=false`",
            )
        names = tuple(found)
        pieces += lines.pieces(path, start, quotes=True)
    return LinesTable(address, names, tuple(pieces), _parse)
