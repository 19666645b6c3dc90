"""How is a data set of another library read, one example after the other?

By its length and `[i]`, or several at once by `__getitems__`: as Hugging Face's, torch's, Grain's and
TFDS's have them. A `tf.data.Dataset` is read from its beginning to its end; a few of its examples by
`tf.data.experimental.at`, where it can do that. An example is a pair (features, target), or a dictionary.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.data import selection as selection_lib
from trainer.data.dataset import DataConfig, DataError
from trainer.data.selection import Selection
from trainer.data.table import Values

_AT_ONCE = 1000
_SAMPLE = 64
_INFINITE = -1  # tf.data's cardinality.


def are_examples(source: Any) -> bool:
    """Whether `blocks` can read it."""
    if _is_tf_data(source):
        return True
    has_rows = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    return has_rows and not isinstance(source, Mapping | str | bytes | np.ndarray)


def blocks(source: Any) -> Iterator[list[Any]]:
    """Every example, in order, some at once. Raises whatever the source raises."""
    if _is_tf_data(source):
        if source.cardinality() == _INFINITE:
            raise ValueError("this tf.data.Dataset never ends; leave out repeat(), or add take(N)")
        rows = source.as_numpy_iterator()
        while block := list(itertools.islice(rows, _AT_ONCE)):
            yield block
        return
    for start in range(0, len(source), _AT_ONCE):
        yield _at(source, range(start, min(start + _AT_ONCE, len(source))))


def identity(source: Any) -> str:
    """sha256 over its length, where that is known, and a few examples that are spread over all.

    They are the first ones where it has no random access. Raises whatever the source raises.
    """
    length = int(source.cardinality()) if _is_tf_data(source) else len(source)
    places = np.unique(np.linspace(0, max(length, 1) - 1, _SAMPLE).astype(int)).tolist()
    if not _is_tf_data(source):
        found = _at(source, places) if length else []
    else:
        found = _at_by_tf_data(source, places) if length > 0 else []
        found = found or list(source.take(_SAMPLE).as_numpy_iterator())
    digest = hashlib.sha256(str(length).encode())
    for example in found:
        _add(digest, example)
    return digest.hexdigest()


def _at(source: Any, places: Sequence[int]) -> list[Any]:
    if hasattr(source, "__getitems__"):
        return list(source.__getitems__(list(places)))
    return [source[place] for place in places]


def _at_by_tf_data(source: Any, places: Sequence[int]) -> list[Any]:
    """The examples at some places; none where the data set has an operation without random access."""
    import tensorflow as tf

    try:
        found = [tf.data.experimental.at(source, place) for place in places]
    except (tf.errors.UnimplementedError, tf.errors.FailedPreconditionError):
        return []
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), found)


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        value = [part for name in sorted(value) for part in (name, value[name])]
    if isinstance(value, list | tuple) and not all(isinstance(one, int | float) for one in value):
        for part in value:
            _add(digest, part)
        return
    array = np.asarray(value)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(repr(value).encode() if array.dtype.kind == "O" else array.tobytes())


def select(where: str, examples: Sequence[Mapping[str, Any]], config: DataConfig) -> Selection:
    """The columns that the config chooses of examples that are dictionaries. Raises DataError."""
    names = list(examples[0])
    found = _named(where, names, examples, config.pad_to > 0)
    return selection_lib.choose(where, names, found, config)


def by_name(selection: Selection, examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The columns that are made of examples, by the names of `Selection.made`.

    Raises DataError where they differ in their keys or shapes.
    """
    is_padded = selection.pad_to > 0
    return selection.apply(_named(selection.where, selection.names, examples, is_padded))


def _named(
    where: str, names: Sequence[str], examples: Sequence[Mapping[str, Any]], is_padded: bool
) -> dict[str, Values]:
    keys = {*examples[0]}
    if unlike := [
        one
        for one in examples
        if not isinstance(one, Mapping) or {*one} != keys or not {*names} <= keys
    ]:
        shown = ", ".join(unlike[0]) if isinstance(unlike[0], Mapping) else type(unlike[0]).__name__
        raise DataError(
            f"{where} must return examples with the same keys. Received: {', '.join(names)} and {shown}; "
            "make them alike."
        )
    return {
        name: _column(where, name, [one[name] for one in examples], is_padded) for name in names
    }


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
