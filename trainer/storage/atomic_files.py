"""How is a file written so that no reader ever sees half of it?

It is written under another name next to its final place, flushed to the disk, and renamed.
"""

import json
import math
import os
import pathlib
import tempfile
from typing import Any

from strategies.errors import InputError, os_reason


class WorkdirError(InputError):
    """The workdir cannot be used for this run."""


def unwritable(path: pathlib.Path, cause: OSError | str) -> WorkdirError:
    """The error for a folder that cannot be written."""
    reason = cause if isinstance(cause, str) else os_reason(cause)
    return WorkdirError(
        f"`--workdir` cannot be written ({reason}). Received: {str(path)!r}; choose a folder that you "
        "may write to."
    )


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file as a whole. If that fails, nothing is left behind."""
    descriptor, building = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(building, 0o644)
        os.replace(building, path)
    except BaseException:
        os.unlink(building)
        raise


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a file of `to_json`'s text. Raises WorkdirError if that fails."""
    write_file(path, to_json(value, indent=2) + "\n")


def write_file(path: pathlib.Path, content: str | bytes) -> None:
    """Like `write_whole`, but raises WorkdirError if that fails."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error) from None


def to_json(value: Any, indent: int | None = None) -> str:
    """The value as standard JSON: NaN and infinity, which JSON does not have, are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
