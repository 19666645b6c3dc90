"""How is a data set of another library read, one example after the other?

By its length and `[i]`, or several at once by `__getitems__`: as Hugging Face's, torch's, Grain's and
TFDS's have them. A `tf.data.Dataset` is read once from its beginning to its end. An example is a pair
(features, target), or a dictionary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.data import selection as selection_lib
from trainer.data.dataset import Columns, DataConfig, DataError
from trainer.data.selection import FEATURES, TARGET
from trainer.data.table import Values

_AT_ONCE = 1000
_INFINITE = -1  # tf.data.INFINITE_CARDINALITY


def are_examples(source: Any) -> bool:
    """Whether `read` can read it."""
    if _is_tf_data(source):
        return True
    has_rows = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    return has_rows and not isinstance(source, Mapping | str | bytes | np.ndarray)


def read(source: Any) -> list[Any]:
    """Every example, in order. Raises whatever the source raises."""
    if _is_tf_data(source):
        if source.cardinality() == _INFINITE:
            raise ValueError("this tf.data.Dataset never ends; leave out repeat(), or add take(N)")
        return list(source.as_numpy_iterator())
    length = len(source)
    if not hasattr(source, "__getitems__"):
        return [source[index] for index in range(length)]
    found: list[Any] = []
    for start in range(0, length, _AT_ONCE):
        found += source.__getitems__(list(range(start, min(start + _AT_ONCE, length))))
    return found


def by_name(
    where: str, examples: Sequence[Mapping[str, Any]], config: DataConfig
) -> tuple[Columns, Columns]:
    """Features and target of examples that are dictionaries, as the config chooses them.

    Raises DataError where they differ in their keys or shapes, or a column is not there.
    """
    names = list(examples[0])
    if unlike := [one for one in examples if not isinstance(one, Mapping) or {*one} != {*names}]:
        shown = ", ".join(unlike[0]) if isinstance(unlike[0], Mapping) else type(unlike[0]).__name__
        raise DataError(
            f"{where} must return examples with the same keys. Received: {', '.join(names)} and {shown}; "
            "make them alike."
        )
    columns = {
        name: _column(where, name, [one[name] for one in examples], config.pad_to > 0)
        for name in names
    }
    selection = selection_lib.choose(where, names, columns, config)
    made = selection.apply(columns)
    target = made.pop(TARGET)
    if FEATURES in made:
        return made[FEATURES], target
    return {name.removeprefix(f"{FEATURES}/"): array for name, array in made.items()}, target


def _column(where: str, name: str, values: list[Any], is_padded: bool) -> Values:
    try:
        rows = [np.asarray(value) for value in values]
        if len({row.shape for row in rows}) > 1 or (is_padded and rows[0].ndim == 1):
            return rows
        return np.stack(rows)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{where} must return numbers or text as {name!r}. Received: {error}; convert them."
        ) from None


def _is_tf_data(source: Any) -> bool:
    return hasattr(source, "element_spec") and hasattr(source, "as_numpy_iterator")
