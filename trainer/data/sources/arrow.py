"""How does a column of Apache Arrow become NumPy arrays?

Numbers as they are, with NaN where one is missing; text as text; lists as an array for each row; images
that are stored as files are decoded.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from trainer.data.dataset import DataError
from trainer.data.sources import pictures
from trainer.data.table import Values


def values(where: str, name: str, column: pa.ChunkedArray) -> Values:
    """The rows of a column. Raises DataError where it has no such form."""
    kind = column.type
    if isinstance(kind, pa.ExtensionType):
        return values(where, name, pa.chunked_array([chunk.storage for chunk in column.chunks]))
    if pa.types.is_dictionary(kind):
        return values(where, name, column.cast(kind.value_type))
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return _numbers(column)
    if pa.types.is_decimal(kind):
        return _numbers(column.cast(pa.float64()))
    if column.null_count:
        raise DataError(
            f"column {name} of {where} must have a value in every row. Received: {column.null_count:,} "
            "rows without; remove these rows, or fill them."
        )
    if pa.types.is_fixed_size_list(kind):
        return _fixed(column.combine_chunks(), len(column))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists(column)
    if pa.types.is_struct(kind) and "bytes" in [field.name for field in kind]:
        return [pictures.decode(one["bytes"]) for one in column.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [pictures.decode(one) for one in column.to_pylist()]
    if pa.types.is_nested(kind):
        raise DataError(
            f"column {name} of {where} must be numbers, text or lists. Received: {kind}; leave it out of "
            "`data.features`."
        )
    return np.array(column.cast(pa.string()).to_pylist(), np.str_)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count:
        column = (column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column).cast(
            pa.float64()
        )
    return column.to_numpy()


def _fixed(array: Any, rows: int) -> np.ndarray:
    sizes = []
    while pa.types.is_fixed_size_list(array.type):
        sizes.append(array.type.list_size)
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False).reshape(rows, *sizes)


def _lists(column: pa.ChunkedArray) -> list[np.ndarray]:
    rows: list[np.ndarray] = []
    for chunk in column.chunks:
        flat = chunk.flatten()
        if pa.types.is_nested(flat.type) or flat.null_count:
            rows += [np.asarray(one) for one in chunk.to_pylist()]
            continue
        numbers = flat.to_numpy(zero_copy_only=False)
        ends = np.cumsum(chunk.value_lengths().to_numpy())
        rows += np.split(numbers, ends[:-1])
    return rows
