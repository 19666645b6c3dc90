"""Which shares of the data was the run in a workdir begun with?

They are a folder: `assignment.npy` has the share of each training example, and `shares.json` their sizes,
how they were found, and their sha256. It appears as a whole, before the first checkpoint.
"""

import io
import pathlib
from typing import Any

import numpy as np

from trainer.order.partition import Partition
from trainer.process.standard_json import to_json
from trainer.storage import atomic_folder, safe_reading
from trainer.storage.atomic_files import storing
from trainer.storage.workdir import unreadable

_ASSIGNMENT, _DESCRIPTION = "assignment.npy", "shares.json"
_MAX_HEADER_BYTES = 4096
_MAX_BYTES_PER_EXAMPLE = 4


def write(folder: pathlib.Path, partition: Partition) -> None:
    """Raises WorkdirError where it cannot be stored."""
    file = io.BytesIO()
    np.save(file, partition.assignment, allow_pickle=False)
    described = {
        "shares": len(partition.shares),
        "examples": partition.num_examples,
        "found": partition.description,
        "sizes": partition.sizes,
        "sha256": partition.sha256,
    }
    text = to_json(described, indent=2) + "\n"
    with storing("the shares of the data", folder):
        atomic_folder.write(folder, {_ASSIGNMENT: file.getbuffer(), _DESCRIPTION: text.encode()})


def sha256(folder: pathlib.Path) -> str:
    """Of the shares that were recorded; "" where there are none, or the record is damaged.

    Raises WorkdirError where it cannot be read, so that nothing is known about it.
    """
    found = _described(folder)
    return found["sha256"] if isinstance(found.get("sha256"), str) else ""


def read(folder: pathlib.Path, num_examples: int) -> Partition | None:
    """The shares of this number of examples; None where there are none, or they are damaged.

    Raises WorkdirError as `sha256`.
    """
    found = _described(folder)
    limit = _MAX_HEADER_BYTES + num_examples * _MAX_BYTES_PER_EXAMPLE
    try:
        content = safe_reading.read_bytes(folder / _ASSIGNMENT, limit)
        assignment = np.load(io.BytesIO(content), allow_pickle=False)
        if assignment.shape != (num_examples,) or assignment.dtype.kind != "u":
            return None
        partition = Partition.from_assignment(
            assignment, 1 + int(assignment.max()), str(found.get("found", ""))
        )
    except OSError as error:
        if safe_reading.is_damage(error):
            return None
        raise unreadable(folder, error) from None
    except (ValueError, EOFError):
        return None
    return partition if partition.sha256 == found.get("sha256") else None


def _described(folder: pathlib.Path) -> dict[str, Any]:
    try:
        found = safe_reading.read_json(folder / _DESCRIPTION)
    except ValueError:
        return {}
    except OSError as error:
        if safe_reading.is_damage(error):
            return {}
        raise unreadable(folder, error) from None
    return found if isinstance(found, dict) else {}
