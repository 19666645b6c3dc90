"""Do prepared columns still have the bytes that were written?

Small ones are read and compared with their sha256 at each start. Larger ones are compared where a file's
size or time is not the one of the last comparison, which `verified.json` records, and by
`python -m trainer data`.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from absl import logging

from trainer.data.merge import Column
from trainer.data.table import PIECE_BYTES
from trainer.storage import atomic_files

ALWAYS_BYTES = 256 << 20  # Of all columns, which take some tenths of a second.
_RECORD = "verified.json"


def changed(folder: Path, columns: Mapping[str, Column], always: bool = False) -> str:
    """A file with other bytes than were written; "" where there is none.

    Args:
      folder: the files are in it, or elsewhere where they have an absolute path.
      columns: by their files.
      always: whether they are compared whatever their size.
    """
    size = sum(column.array.nbytes for column in columns.values())
    is_large = size > ALWAYS_BYTES
    known = _recorded(folder) if is_large and not always else {}
    unknown = [file for file in columns if known.get(file) != _stamp(folder / file)]
    if unknown and is_large:
        logging.info("data | verifying the columns in %s, %.1f GB, once", folder, size / 1e9)
    for file in unknown:
        if _sha256(columns[file].array) != columns[file].statistics.sha256:
            return file
    if unknown and is_large:
        record(folder, columns)
    return ""


def record(folder: Path, files: Iterable[str]) -> None:
    """Records that these files are as they were written."""
    found = {file: _stamp(folder / file) for file in files}
    with contextlib.suppress(OSError):  # Who can only read the folder compares at each start.
        atomic_files.write_whole(folder / _RECORD, json.dumps(found))


def _recorded(folder: Path) -> dict[str, list[int]]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((folder / _RECORD).read_text())
        return found if isinstance(found, dict) else {}
    return {}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256()
    rows = max(1, PIECE_BYTES // max(array[:1].nbytes, 1))
    for start in range(0, len(array), rows):
        block = np.ascontiguousarray(array[start : start + rows])
        digest.update(block.view(np.uint8).data)
    return digest.hexdigest()
