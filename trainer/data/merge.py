"""How do the pieces of a source become one array for each column?

`merge` finds the type and shape that all pieces have in common, fills an array for each column of each
split, and collects its statistics. The arrays are in memory, or wherever `create` makes them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from trainer.data.dataset import DataError
from trainer.data.selection import TARGET
from trainer.data.statistics import Collector, Statistics

Part = Mapping[str, np.ndarray]  # The columns of some rows.
# Makes the array of (split, column) with this shape and type.
Create = Callable[[str, str, tuple[int, ...], np.dtype], np.ndarray]


class Progress(Protocol):
    def __call__(self, rows: int) -> None:
        """Reports that this number of further rows of a column is done."""


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """An array [n, ...] and what is known of it."""

    array: np.ndarray
    statistics: Statistics


@dataclasses.dataclass(frozen=True, eq=False)
class Merged:
    """The columns of each split.

    `classes`: the texts that the numbers of the target mean. `features`: the columns of the source that
    the features were made of.
    """

    splits: Mapping[str, Mapping[str, Column]]
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def in_memory(split: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.empty(shape, dtype)


def merge(
    where: str,
    parts: Mapping[str, Sequence[Part]],
    classes: Sequence[str] = (),
    create: Create = in_memory,
    mapped: Mapping[tuple[str, str], np.ndarray] | None = None,
    progress: Progress = lambda rows: None,
) -> Merged:
    """The columns of all splits.

    Args:
      where: the source, for messages.
      parts: the pieces of each split, in order.
      classes: the classes of a target that is text, where the source knows their order.
      create: makes the arrays.
      mapped: arrays that are stored already, by (split, column). Where no conversion is needed, they are
        not copied.

    Raises DataError where a split is empty, or pieces differ in their shape or kind.
    """
    for split, own in parts.items():
        if not any(len(part[TARGET]) for part in own):
            raise DataError(
                f"{where} must have at least one example{'' if split == 'all' else f' to {split} on'}. "
                "Received: none."
            )
    everything = [part for own in parts.values() for part in own if len(part[TARGET])]
    names = list(everything[0])
    kinds = {name: _common(where, name, [part[name] for part in everything]) for name in names}
    if kinds[TARGET][0].kind in "SU":
        classes = _classes(where, [part[TARGET] for part in everything], classes)
        kinds[TARGET] = (np.dtype(np.int32), ())
    else:
        classes = classes if kinds[TARGET][0].kind == "i" else ()
    columns: dict[str, dict[str, Column]] = {}
    for split, own in parts.items():
        columns[split] = {}
        for name in names:
            blocks = [part[name] for part in own if len(part[name])]
            stored = (mapped or {}).get((split, name))
            columns[split][name] = _column(
                (split, name), blocks, kinds[name], classes, create, stored, progress
            )
    return Merged(columns, tuple(classes))


def _column(
    place: tuple[str, str],
    blocks: Sequence[np.ndarray],
    kind: tuple[np.dtype, tuple[int, ...]],
    classes: Sequence[str],
    create: Create,
    stored: np.ndarray | None,
    progress: Progress,
) -> Column:
    dtype, shape = kind
    collector = Collector(place[1] == TARGET)
    is_stored = stored is not None and stored.dtype == dtype and stored.dtype == blocks[0].dtype
    length = sum(map(len, blocks))
    array = stored if is_stored else create(*place, (length, *shape), dtype)
    assert array is not None
    start = 0
    for one in blocks:
        block = one if one.dtype == dtype else _converted(one, dtype, classes)
        if not is_stored:
            array[start : start + len(block)] = block
        collector.add(block)
        progress(len(block))
        start += len(block)
    return Column(array, collector.result())


def _converted(block: np.ndarray, dtype: np.dtype, classes: Sequence[str]) -> np.ndarray:
    if block.dtype.kind not in "SU" or dtype.kind in "SU":
        return block.astype(dtype)
    order = np.argsort(classes)
    places = np.searchsorted(np.asarray(classes)[order], _texts(block))
    return order[places].astype(dtype)


def _common(
    where: str, name: str, arrays: Sequence[np.ndarray]
) -> tuple[np.dtype, tuple[int, ...]]:
    """The type and the shape of a row that all pieces have in common. Raises DataError."""
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) > 1:
        shown = " and ".join(str(list(shape)) for shape in shapes[:3])
        raise DataError(
            f"{name} of {where} must have rows of one shape. Received: {shown}; make them alike, or pad "
            "lists with --config.data.pad_to=N."
        )
    dtypes = {array.dtype for array in arrays}
    if len({"text" if dtype.kind in "SU" else "numbers" for dtype in dtypes}) > 1:
        raise DataError(
            f"{name} of {where} must be numbers in every row, or text in every row. Received: both; "
            "correct the rows that differ."
        )
    dtype = np.result_type(*dtypes)
    return (np.dtype(np.float32) if dtype == np.float64 else dtype), shapes[0]


def _classes(where: str, targets: Sequence[np.ndarray], known: Sequence[str]) -> tuple[str, ...]:
    """The texts of a target in the order of their numbers: sorted, unless the source knows another."""
    if targets[0].ndim > 1:
        raise DataError(
            f"the target of {where} must be one text per row. Received: {list(targets[0].shape[1:])}; "
            "name one column with --config.data.target=NAME."
        )
    found = sorted({*map(str, np.unique(np.concatenate([_unique(target) for target in targets])))})
    if missing := [name for name in found if name not in known]:
        return tuple(found) if not known else (*known, *missing)
    return tuple(known)


def _unique(target: np.ndarray) -> np.ndarray:
    return np.unique(_texts(target))


def _texts(array: np.ndarray) -> np.ndarray:
    return np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array
