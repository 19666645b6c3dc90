"""Which arrays does an .npz file hold? `read` reads those that are expected, and never more than that.

NumPy's own reader trusts what the archive says of itself. Here each array must be stored without
compression, as `np.savez` stores it, and have the expected shape and type: so no file makes this program
allocate more than it knows to need. The zip format's CRC is verified.
"""

import math
import sys
import weakref
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from strategies.state import Lazy

ArrayType = tuple[tuple[int, ...], np.dtype]
_MAX_HEADER_BYTES = 4096
_MAX_OVERHEAD = 2 * _MAX_HEADER_BYTES  # Of an array: that, and the archive's with its name twice.
_MAX_END = 1 << 16  # Of an archive, with its comment.
_ENCRYPTED = 1  # A bit of a member's flags.


def read(file: BinaryIO, expected: Mapping[str, ArrayType | None]) -> dict[str, np.ndarray]:
    """The arrays by name, without any others of the file.

    `expected`: the shape and type of each; None where any is right.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged, or lacks one of them, or has one of another shape or type.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return {name: _read_member(archive, name, kind) for name, kind in expected.items()}
    except (OSError, ValueError):
        raise
    except KeyError as error:
        raise ValueError(f"it lacks {error.args[0]}") from None
    except Exception as error:  # Whatever a parser raises on damaged bytes.
        raise ValueError(str(error) or type(error).__name__) from None


def read_lazily(
    file: BinaryIO, expected: Mapping[str, ArrayType | None]
) -> dict[str, np.ndarray | Lazy]:
    """As `read`, of arrays that are read when they are used, as often as that is.

    `expected` has all their shapes and types. The file is closed with the last of these arrays. Damage
    raises ValueError only then.
    """
    held = _Held(file)

    def lazy(name: str, kind: ArrayType) -> Lazy:
        return Lazy(*kind, lambda: read(held.file, {name: kind})[name])

    return {name: lazy(name, kind) for name, kind in expected.items() if kind}


class _Held:
    """Closes a file when nothing refers to this any more."""

    def __init__(self, file: BinaryIO):
        self.file = file
        weakref.finalize(self, file.close)


def max_file_bytes(expected: Mapping[str, ArrayType | None]) -> int:
    """How large a file of these arrays can be; `sys.maxsize` where one of them is not known."""
    if None in expected.values():
        return sys.maxsize
    kinds = [kind for kind in expected.values() if kind]
    return (
        sum(math.prod(shape) * dtype.itemsize + _MAX_OVERHEAD for shape, dtype in kinds) + _MAX_END
    )


def kind_of(array: np.ndarray) -> ArrayType:
    """The shape and type with which this array is stored."""
    descr = npy.dtype_to_descr(array.dtype)  # Types beyond NumPy's are stored as plain bytes.
    return array.shape, npy.descr_to_dtype(descr)


def _read_member(archive: zipfile.ZipFile, name: str, expected: ArrayType | None) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        raise ValueError(f"{name} is compressed or encrypted")
    with archive.open(info) as member:
        shape, is_fortran, dtype = _read_header(member)
        if dtype.hasobject:
            raise ValueError(f"{name} has no plain numbers")
        if expected is not None and (shape, dtype) != expected:
            raise ValueError(
                f"{name} is {dtype} {list(shape)}, not {expected[1]} {list(expected[0])}"
            )
        num_bytes = dtype.itemsize * math.prod(shape)
        if not 0 <= info.file_size - num_bytes <= _MAX_HEADER_BYTES:
            raise ValueError(f"{name} has {info.file_size} bytes, not {num_bytes}")
        array = np.empty(shape[::-1] if is_fortran else shape, dtype)
        _fill(member, array, name)
    return array.T if is_fortran else array


def _read_header(member) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(member)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it has NumPy's format {version}")
    return readers[version](member, max_header_size=_MAX_HEADER_BYTES)


def _fill(member, array: np.ndarray, name: str) -> None:
    """Reads the array's bytes, and to the member's end: only there is its CRC verified."""
    flat: Any = array.reshape(-1).view(np.uint8) if array.size else b""
    view = memoryview(flat)
    filled = 0
    while filled < len(view) and (count := member.readinto(view[filled:])):
        filled += count
    if filled < len(view) or member.read(1):
        raise ValueError(f"{name} is cut off or too long")
