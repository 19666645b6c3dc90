"""What is in a CSV file? A column of numbers or text for each name in its first line.

`csv:FILE` or `csv:TRAIN,TEST`; each may be a pattern, as in `csv:part-*.csv`. A value in "quotes" may
contain commas and ends of lines. A number that is missing is reported.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.config.fields import option
from trainer.data.address import Address
from trainer.data.sources import files, lines
from trainer.data.sources.lines import Lines
from trainer.data.table import Opened, Values


@dataclasses.dataclass(frozen=True)
class Options:
    """How the file is written."""

    delimiter: str = option(
        "comma",
        "between the values of a row",
        choices=("comma", "semicolon", "tab", "space", "pipe"),
    )
    header: bool = option(True, "whether the first line has the names; else they are c0, c1, ...")


_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|"}


@dataclasses.dataclass(frozen=True)
class _Csv:
    address: Address
    names: tuple[str, ...]
    pieces: tuple[Lines, ...]

    @property
    def num_pieces(self) -> int:
        return len(self.pieces)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        import pyarrow.csv

        from trainer.data.sources import arrow

        where = self.pieces[piece]
        with files.reported(self.address, where.path):
            table = pyarrow.csv.read_csv(
                io.BytesIO(where.read()),
                pyarrow.csv.ReadOptions(use_threads=False, column_names=list(self.names)),
                pyarrow.csv.ParseOptions(
                    delimiter=_DELIMITERS[self.address.options.delimiter], newlines_in_values=True
                ),
                pyarrow.csv.ConvertOptions(include_columns=list(names), timestamp_parsers=[]),
            )
            return {name: arrow.values(str(self.address), name, table[name]) for name in names}


def open_source(address: Address) -> Opened:
    return files.opened(address, "*.csv", _table)


def _table(address: Address, paths: Sequence[Path]) -> _Csv:
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
    return _Csv(address, names, tuple(pieces))
