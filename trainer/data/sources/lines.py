"""Where can a file of lines be cut, so that its pieces can be read one by one?

At the last end of a line in each stretch of a fixed number of bytes. `LinesTable` is such a file, or
several, whose lines a function parses.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from trainer.data.address import Address
from trainer.data.sources import files
from trainer.data.table import PIECE_BYTES, Values

_NEWLINE, _QUOTE = 10, 34


@dataclasses.dataclass(frozen=True)
class Lines:
    """Some whole lines of a file: its bytes from `start` to `stop`."""

    path: Path
    start: int
    stop: int

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return file.read(self.stop - self.start)


@dataclasses.dataclass(frozen=True)
class LinesTable:
    """A table of files of lines.

    `parse(table, lines, names)` returns the columns of some lines, and may raise what `files.reported`
    reports. `text`: the columns that are text, where the kind decides that.
    """

    address: Address
    names: tuple[str, ...]
    pieces: tuple[Lines, ...]
    parse: "Callable[[LinesTable, Lines, Sequence[str]], Mapping[str, Values]]"
    text: frozenset[str] = frozenset()

    @property
    def num_pieces(self) -> int:
        return len(self.pieces)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        where = self.pieces[piece]
        with files.reported(self.address, where.path):
            return self.parse(self, where, names)


def pieces(path: Path, start: int = 0, quotes: bool = False) -> Iterator[Lines]:
    """The pieces of a file from a byte on. `quotes`: a value in "quotes" may contain ends of lines."""
    size, inside, begun = path.stat().st_size, False, start
    with open(path, "rb") as file:
        file.seek(start)
        place = start
        while place < size:
            block = np.frombuffer(file.read(PIECE_BYTES), np.uint8)
            if not len(block):
                break
            is_end = block == _NEWLINE
            if quotes:
                within = np.bitwise_xor.accumulate(block == _QUOTE) ^ inside
                is_end &= ~within
                inside = bool(within[-1])
            ends = np.flatnonzero(is_end)
            if len(ends):
                stop = place + int(ends[-1]) + 1
                yield Lines(path, begun, stop)
                begun = stop
            place += len(block)
    if begun < size:
        yield Lines(path, begun, size)


def first_line(path: Path, quotes: bool = False) -> tuple[bytes, int]:
    """The first line, and where the next one begins."""
    for piece in pieces(path, quotes=quotes):
        content = piece.read()
        block = np.frombuffer(content, np.uint8)
        is_end = block == _NEWLINE
        if quotes:
            is_end &= ~np.bitwise_xor.accumulate(block == _QUOTE)
        ends = np.flatnonzero(is_end)
        stop = int(ends[0]) + 1 if len(ends) else len(content)
        return content[:stop], stop
    return b"", 0


def of_all(paths: Sequence[Path]) -> list[Lines]:
    return [piece for path in paths for piece in pieces(path)]
