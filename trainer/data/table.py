"""What does a source of examples look like before features and target are chosen?

A `Table`: named columns, cut into pieces that can be read one by one, in any order and by any process.
Each module in `sources/` opens one kind of files as one or several tables.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.config.fields import short_json
from trainer.config.nearest import nearest
from trainer.data.dataset import DataError

# One value per row: an array [n, ...], or a list of n arrays where their lengths differ.
Values = np.ndarray | list[np.ndarray]

PIECE_BYTES = 16 << 20  # Of a piece, about: small enough that every core can hold several.


class Table(Protocol):
    """The rows of one split, or of all splits together. Pickled where other processes read it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in their order."""

    @property
    def num_pieces(self) -> int: ...

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        """The rows of a single piece. Raises DataError where they are damaged."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A source whose files were found: `tables` by split, or a single one with the name "all"."""

    tables: Mapping[str, Table]
    files: tuple[Path, ...]  # Everything that the rows are read from.
    # The names of the classes, where the source has them in an order of its own.
    classes: tuple[str, ...] = ()
    # A few rows, where to read a whole piece would take long: then the source is always prepared.
    sample: Mapping[str, Values] | None = None


@dataclasses.dataclass(frozen=True)
class Arrays:
    """A table of arrays of one length, in memory or memory-mapped."""

    columns: Mapping[str, np.ndarray]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @property
    def num_pieces(self) -> int:
        return -(-self._num_rows // self._rows) or 1

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        rows = slice(piece * self._rows, (piece + 1) * self._rows)
        return {name: self.columns[name][rows] for name in names}

    @property
    def _num_rows(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def _rows(self) -> int:
        """Of a piece."""
        row = sum(array[:1].nbytes for array in self.columns.values())
        return max(1, PIECE_BYTES // max(row, 1))


def by_split(where: str, columns: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The columns of each split, by their names: x_train or train_x belongs to "train".

    Without such names all columns are those of a table "all". Raises DataError where a split lacks a
    column that another has.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, column in columns.items():
        match = re.fullmatch(r"(?:(train|test)[_/-](.+))|(?:(.+)[_/-](train|test))", name)
        split, bare = ("all", name) if not match else (match[1] or match[4], match[2] or match[3])
        found.setdefault(split, {})[bare] = column
    if len(found) > 1 and "all" in found:
        raise DataError(
            f"{where} must name all arrays by their split, as in x_train and x_test, or none. Received: "
            f"{', '.join(columns)}; rename them."
        )
    if {*found} == {"test"}:
        raise DataError(f"{where} has no examples to train on. Received: {', '.join(columns)}.")
    if "test" in found and {*found["test"]} != {*found["train"]}:
        raise DataError(
            f"{where} must have the same arrays for train and test. Received: "
            f"{', '.join(found['train'])} and {', '.join(found['test'])}; rename or add them."
        )
    if "train" in found and "test" not in found:
        return {"all": found["train"]}
    return {split: found[split] for split in ("train", "test", "all") if split in found}


def check_lengths(where: str, split: str, columns: Mapping[str, Any]) -> None:
    """Raises DataError unless all arrays of a split have the same number of rows."""
    if any(not array.ndim for array in columns.values()):
        lone = next(name for name, array in columns.items() if not array.ndim)
        raise DataError(f"{where} has a single number as {lone!r}; store one row per example.")
    lengths = {name: len(array) for name, array in columns.items()}
    if len({*lengths.values()}) > 1:
        shown = ", ".join(f"{length:,} of {name}" for name, length in lengths.items())
        raise DataError(
            f"{where} must have arrays of one length. Received: {shown}"
            f"{'' if split == 'all' else f' to {split} on'}; store one row per example."
        )


def unknown_column(field: str, where: str, name: str, known: Iterable[str]) -> DataError:
    """The error for a column that is not there."""
    known = list(known)
    close = nearest(name, known)
    hint = f"did you mean {close}?" if close else "correct the name."
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return DataError(
        f"`{field}` must name columns of {where}, which are {shown}. Received: {short_json(name)}; {hint}"
    )
