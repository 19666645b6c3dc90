"""Which examples have similar values of a feature?

`values` takes them from the examples block by block: a column of arrays, larger than memory maybe,
becomes one number for each example. `groups` divides them.
"""

import difflib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.order.divide import by_number, cut
from trainer.order.errors import PartitionError
from trainer.order.feature import LABEL, MAX_VALUES, QUANTILES, Feature

_REDUCE: dict[str, Callable[..., Any]] = {
    "mean": functools.partial(np.mean, dtype=np.float64),
    "std": functools.partial(np.std, dtype=np.float64),
    "sum": functools.partial(np.sum, dtype=np.float64),
    "min": np.min,
    "max": np.max,
}
_BLOCK_BYTES = 64 << 20
_CLOSE = 0.7  # How similar a name is to one that is suggested: "age" and "target" have 0.67.


class _MatrixColumn:
    """A column of a matrix [n, k], which is read only where it is indexed."""

    def __init__(self, matrix: Any, index: int):
        self._matrix, self._index = matrix, index
        self.dtype, self.shape = matrix.dtype, matrix.shape[:1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.asarray(self._matrix[rows])[:, self._index]


def columns(features: Any, targets: Any, names: Sequence[str] = ()) -> dict[str, Any]:
    """The columns that `data.partition_by` may name: arrays [n, ...], or what is sliced like them.

    `names`: of the columns of a matrix; without them they are called features.0, features.1 and so on.
    """
    found = dict(targets) if isinstance(targets, Mapping) else {LABEL: targets, "target": targets}
    if isinstance(features, Mapping):
        return found | dict(features)
    found["features"] = features
    if features.dtype == np.uint8 and features.ndim >= 3:
        found["pixels"] = features
    elif features.ndim == 2:
        width = features.shape[1]
        named = names if len(names) == width else [f"features.{i}" for i in range(width)]
        found |= {name: _MatrixColumn(features, index) for index, name in enumerate(named)}
    return found


def values(columns: Mapping[str, Any], feature: Feature) -> np.ndarray:
    """The value of each example, [n]. `columns`: arrays [n, ...] by name. Raises PartitionError."""
    if feature.column not in columns:
        near = difflib.get_close_matches(feature.column, columns, n=1, cutoff=_CLOSE)
        shown = ", ".join([*columns][:20])
        hint = f"did you mean {near[0]}?" if near else f"the columns are {shown}."
        raise PartitionError(
            f"`data.partition_by` must name a column of the training data. Received: "
            f"{feature.column[:80]!r}; {hint}"
        )
    array = columns[feature.column]
    is_text = array.dtype.kind in "SU"
    if is_text and (feature.statistic or feature.quantiles or feature.bounds):
        raise PartitionError(
            "`data.partition_by` must name a column of numbers to divide it by ranges. Received: "
            f"{feature.column}, which has text; write {feature.column} alone."
        )
    if not feature.statistic and math.prod(array.shape[1:]) != 1:
        raise PartitionError(
            "`data.partition_by` must name a column of single values. Received: "
            f"{feature.column}, which has arrays {list(array.shape[1:])}; divide by a statistic, e.g. "
            f"{feature.column}.mean:{QUANTILES}."
        )
    rows = max(1, _BLOCK_BYTES // max(1, 8 * math.prod(array.shape[1:])))
    found = np.empty(len(array), np.float64 if feature.statistic else array.dtype)
    for start in range(0, len(array), rows):
        block = np.asarray(array[start : start + rows]).reshape(min(rows, len(array) - start), -1)
        if feature.statistic:
            found[start : start + rows] = _REDUCE[feature.statistic](block, axis=1)
        else:
            found[start : start + rows] = block[:, 0]
    return found


def groups(found: np.ndarray, feature: Feature, count: int) -> list[np.ndarray]:
    """The examples of each share, by their values. `count`: the number of shares; 0: all there are.

    Raises PartitionError where a share would be empty.
    """
    if feature.quantiles:
        return cut(np.argsort(found, kind="stable"), count)
    if feature.bounds:
        return _ranges(found, feature)
    distinct, index = np.unique(found, return_inverse=True)
    if count > len(distinct):
        raise PartitionError(
            f"`data.partitions` must be at most {len(distinct)}, the number of values of "
            f"{feature.column}. Received: {count}; lower it, or divide by {feature.column}:{QUANTILES}."
        )
    if not count and len(distinct) > MAX_VALUES:
        raise PartitionError(
            f"`data.partition_by` must have at most {MAX_VALUES:,} values, each for a share. Received: "
            f"{feature.column} with {len(distinct):,}; divide by {feature.column}:{QUANTILES}, or set "
            "`data.partitions`."
        )
    share = index * (count or len(distinct)) // len(distinct)
    return by_number(share, count or len(distinct))


def _ranges(found: np.ndarray, feature: Feature) -> list[np.ndarray]:
    made = by_number(np.searchsorted(feature.bounds, found, side="right"), len(feature.bounds) + 1)
    for number, group in enumerate(made):
        if not len(group):
            raise PartitionError(
                f"`data.partition_by` must have examples in each range. Received: none "
                f"{_range(feature.bounds, number)} in {feature.column}, whose values are {found.min():g} "
                f"to {found.max():g}; choose other bounds."
            )
    return made


def _range(bounds: Sequence[float], number: int) -> str:
    low = f"from {bounds[number - 1]:g}" if number else ""
    high = f"below {bounds[number]:g}" if number < len(bounds) else ""
    return " ".join(filter(None, (low, high)))
