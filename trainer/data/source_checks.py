"""Are the values of a source such that a model can be trained on them? Raises DataError where not.

The statistics of the columns say so, without reading them again.
"""

import numpy as np

from trainer.data.dataset import DataError
from trainer.data.merge import Column, Merged
from trainer.data.selection import TARGET, WEIGHTS
from trainer.data.statistics import MAX_CLASSES


def check_values(where: str, merged: Merged) -> None:
    """Raises DataError for NaN, infinite numbers, labels out of range, or one-hot labels."""
    for split, columns in merged.splits.items():
        place = where if split == "all" else f"{where} ({split})"
        for name, column in columns.items():
            _check_finite(place, name, column)
        _check_target(place, columns[TARGET])
        if WEIGHTS in columns:
            _check_weights(place, columns[WEIGHTS])
    _check_same_classes(where, merged)


def _check_finite(where: str, name: str, column: Column) -> None:
    found = column.statistics
    if found.not_finite:
        raise DataError(
            f"{name} of {where} must be finite numbers that fit in 32 bits. Received: NaN, missing or "
            f"infinite in {found.not_finite:,} of {len(column.array):,} rows, first in row "
            f"{found.first_not_finite}; remove these rows, or fill them."
        )


def _check_target(where: str, column: Column) -> None:
    array, found = column.array, column.statistics
    if array.dtype.kind not in "iu":
        return
    if array.ndim > 1:
        fix = "store the class itself, np.argmax(target, axis=1)" if found.is_one_hot else (
            "store one class per row, or floats for a regression"
        )  # fmt: skip
        kind = "one-hot rows" if found.is_one_hot else "whole numbers"
        raise DataError(
            f"the target of {where} must be one class per row. Received: {kind} of shape "
            f"{list(array.shape[1:])}; {fix}."
        )
    if found.low < 0 or found.high >= MAX_CLASSES:
        raise DataError(
            f"the target of {where} must be classes from 0 to at most {MAX_CLASSES - 1}. Received: "
            f"{found.low:.0f} to {found.high:.0f}; number the classes from 0, or store floats for a "
            "regression."
        )


def _check_weights(where: str, column: Column) -> None:
    array, found = column.array, column.statistics
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        kind = "text" if array.dtype.kind in "SU" else f"arrays {list(array.shape[1:])}"
    elif found.low < 0 or not found.high > 0:
        kind = f"{found.low:g} to {found.high:g}"
    else:
        return
    raise DataError(
        f"`data.example_weights` must name a column of {where} with numbers from 0 on, not all of them "
        f"0. Received: {kind}; correct the column."
    )


def _check_same_classes(where: str, merged: Merged) -> None:
    splits = merged.splits
    if "test" not in splits or splits["train"][TARGET].array.dtype.kind not in "iu":
        return
    train, test = (splits[name][TARGET].statistics.counts for name in ("train", "test"))
    unseen = [one for one in np.flatnonzero(test).tolist() if one >= len(train) or not train[one]]
    if unseen:
        named = [merged.classes[one] if merged.classes else str(one) for one in unseen]
        raise DataError(
            f"the target of {where} (test) must be classes that the training examples have. Received: "
            f"{', '.join(named[:5])}{' and more' if len(named) > 5 else ''}; correct the labels."
        )
