"""How is a file written so that nobody ever sees half of it?"""

import json
import math
import os
import pathlib
import tempfile
from typing import Any

from strategies.errors import InputError


class WorkdirError(InputError):
    """The workdir cannot be used for this run."""


def unwritable(path: pathlib.Path, why: str) -> WorkdirError:
    """The error for a place that cannot be written, for the reason `why`."""
    return WorkdirError(
        f"`--workdir` cannot be written ({why}). Received: {str(path)!r}; choose a folder that you "
        "may write to."
    )


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file that is never seen half written. Where it cannot, nothing is left behind."""
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
    """Writes a JSON file as `to_json` spells it. Raises WorkdirError where it cannot."""
    write_file(path, to_json(value, indent=2) + "\n")


def write_file(path: pathlib.Path, content: str | bytes) -> None:
    """`write_whole`, but raises WorkdirError where it cannot."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error.strerror) from None


def to_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON that any program reads: nan and infinity, which JSON lacks, are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
