"""Which arrays may a recipe's `get_data` return? Each function takes what it returned, or refuses it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.config.recipes import Recipe
from trainer.data.dataset import Columns, DataError

_KINDS = "fiubSU"  # NumPy's letters for numbers, truth values and text.


def stacked(recipe: Recipe, what: str, values: Sequence[Any]) -> Columns:
    """The values of several examples as columns. Raises DataError."""
    first = values[0]
    try:
        if isinstance(first, Mapping):
            if unlike := [v for v in values if {*v} != {*first}]:
                raise KeyError(f"{', '.join(first)} and {', '.join(unlike[0])}")
            return {name: np.stack([np.asarray(v[name]) for v in values]) for name in first}
        return np.stack([np.asarray(value) for value in values])
    except (ValueError, KeyError, TypeError) as error:
        raise refused(recipe, f"{what} of one shape", f"{type(error).__name__}: {error}") from None


def as_columns(recipe: Recipe, what: str, columns: Any) -> Columns:
    """An array, or arrays by name. Raises DataError."""
    if isinstance(columns, Mapping):
        if not columns:
            raise refused(recipe, f"must return at least one array as {what}", "none")
        return {
            str(name): as_array(recipe, f"{what}[{name!r}]", array)
            for name, array in columns.items()
        }
    return as_array(recipe, what, columns)


def as_array(recipe: Recipe, what: str, values: Any) -> np.ndarray:
    """In Keras's own float type where they are other floating-point numbers. Raises DataError."""
    if isinstance(values, np.ma.MaskedArray):
        raise refused(recipe, f"must return an array without a mask as {what}", kind_of(values))
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except (ValueError, TypeError) as error:
        raise refused(recipe, f"must return an array as {what}", f"{error}") from None
    if array.dtype.kind not in _KINDS or not array.ndim or 0 in array.shape[1:]:
        rule = f"must return an array of numbers or text, one row per example, as {what}"
        raise refused(recipe, rule, f"{array.dtype} {list(array.shape)}")
    if array.dtype.kind != "f" or array.dtype.itemsize == 4:
        return array
    try:
        with np.errstate(over="raise"):
            return array.astype(np.float32)
    except FloatingPointError:
        largest = f"up to {np.nanmax(np.abs(array[np.isfinite(array)])):g}"
        raise refused(recipe, f"must return numbers below 3.4e38 as {what}", largest) from None


def refused(recipe: Recipe, rule: str, received: str) -> DataError:
    shown = " ".join(received.split())[:200]
    return DataError(
        f"`get_data` of {recipe.path} {rule}. Received: {shown}; see `trainer.recipe` for examples."
    )


def kind_of(value: Any) -> str:
    """What a value is, in words, for messages."""
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__name__}"
