"""How are some rows of a memory-mapped array used like an array, without reading them?

`Rows` is a view: rows are read from the file only when they are indexed.
"""

import mmap
from typing import Any

import numpy as np


class Rows:
    """The rows `indices` of an array [n, ...]. NumPy's functions read all of them, `[i]` only some."""

    def __init__(self, array: np.ndarray, indices: np.ndarray):
        self._array, self._indices = array, indices
        self.dtype = array.dtype
        self.shape = (len(indices), *array.shape[1:])
        self.ndim = array.ndim

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, places: Any) -> Any:
        """The rows at `places`: a slice gives a view, an integer or an array of them the rows."""
        if isinstance(places, slice):
            return Rows(self._array, self._indices[places])
        if isinstance(places, tuple):
            return np.asarray(self)[places]
        return self._array[self._indices[places]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._array[self._indices], dtype)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def is_mapped(array: Any) -> bool:
    """Whether the numbers are in a file, of which only what is used is read."""
    return isinstance(array, np.memmap | Rows)


def take(array: np.ndarray, indices: np.ndarray) -> Any:
    """These rows: copied from memory, or a view of a file."""
    return Rows(array, indices) if is_mapped(array) else array[indices]


def expect_random_reads(array: Any) -> None:
    """Has the system read only the pages that are used of a mapped array, and not those that follow.

    Reading ahead may be megabytes for each row, as rows are used in a random order.
    """
    while isinstance(array, Rows):
        array = array._array
    if isinstance(array, np.memmap):
        array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # It has no other name.
