"""What is known of a column without reading it again?

`Statistics`: its digest, its smallest and largest number, how many are not finite, and how often each
class occurs. `Collector` computes them block by block, so that a column larger than memory is read once.
"""

import dataclasses
import hashlib
from typing import Any

import numpy as np

MAX_CLASSES = 100_000


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of a column [n, ...]; `low` and `high` are of its finite numbers, 0 for text."""

    sha256: str  # Over the bytes of its rows, in their order.
    low: float
    high: float
    not_finite: int  # Rows with a number that is NaN or infinite.
    first_not_finite: int  # The first such row; -1: none.
    counts: tuple[int, ...]  # Rows per class, where the column has one class 0, 1, ... per row.
    is_one_hot: bool  # Every row of a column [n, k] has one 1 and otherwise 0.


class Collector:
    """Collects the statistics of a column from its blocks of rows, in order."""

    def __init__(self, counts_classes: bool):
        self._counts_classes = counts_classes
        self._digest = hashlib.sha256()
        self._rows = 0
        self._low, self._high = np.inf, -np.inf
        self._not_finite, self._first = 0, -1
        self._counts = np.zeros(0, np.int64)
        self._is_one_hot = True

    def add(self, block: np.ndarray) -> None:
        """The next rows [k, ...]."""
        if not len(block):
            return
        self._digest.update(np.ascontiguousarray(block).view(np.uint8).data)
        if block.dtype.kind == "f":
            self._check_finite(block)
        if block.dtype.kind in "iufb" and block.size:
            with np.errstate(invalid="ignore"):
                self._low = min(self._low, _least(np.fmin, block))
                self._high = max(self._high, _least(np.fmax, block))
        if self._counts_classes:
            self._count(block)
        self._rows += len(block)

    def result(self) -> Statistics:
        has_numbers = np.isfinite(self._low) and np.isfinite(self._high)
        return Statistics(
            self._digest.hexdigest(),
            float(self._low) if has_numbers else 0.0,
            float(self._high) if has_numbers else 0.0,
            self._not_finite,
            self._first,
            tuple(self._counts.tolist()),
            self._is_one_hot and self._rows > 0,
        )

    def _check_finite(self, block: np.ndarray) -> None:
        # A sum is finite only if every number is, or if they overflow it: then look closer.
        with np.errstate(all="ignore"):
            if np.isfinite(block.sum(dtype=np.float64)):
                return
        wrong = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if wrong.any():
            if self._first < 0:
                self._first = self._rows + int(wrong.argmax())
            self._not_finite += int(wrong.sum())

    def _count(self, block: np.ndarray) -> None:
        self._is_one_hot &= _is_one_hot(block)
        if block.ndim != 1 or block.dtype.kind not in "iu":
            return
        if block.min() >= 0 and block.max() < MAX_CLASSES:
            counts = np.bincount(block, minlength=len(self._counts))
            counts[: len(self._counts)] += self._counts
            self._counts = counts


def _least(function: Any, block: np.ndarray) -> float:
    """The smallest, or the largest, of the numbers that are finite."""
    found = function.reduce(block, axis=None)
    if not np.isfinite(found):
        finite = block[np.isfinite(block)]
        return function.reduce(finite) if finite.size else found
    return found


def _is_one_hot(block: np.ndarray) -> bool:
    if block.ndim != 2 or block.shape[1] < 2:
        return False
    return bool(((block == 0) | (block == 1)).all() and (block.sum(axis=1) == 1).all())
