"""How is a file of a workdir read that may be damaged, huge or no file at all?

`read_bytes` reads a regular file of limited size: it never waits for the other end of a pipe.
`parse_json` raises ValueError for whatever is not JSON, also where it is nested too deeply for Python.
"""

import errno
import io
import json
import os
import pathlib
import stat
from typing import Any

MAX_JSON_BYTES = 64 << 20

# A name that leads nowhere, or to something else than a file. Any other error, as of permissions or of a
# disk, says nothing about what is stored there.
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)


def read_bytes(path: pathlib.Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not a regular file, or larger than `max_bytes`.
    """
    with open_file(path, max_bytes) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def open_file(path: pathlib.Path, max_bytes: int) -> io.BufferedReader:
    """A regular file, open to be read. Raises OSError and ValueError as `read_bytes` does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = open(descriptor, "rb")  # noqa: SIM115, the caller closes it.
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if status.st_size > max_bytes:
            raise ValueError(f"{path.name} has {status.st_size:,} bytes, more than {max_bytes:,}")
    except BaseException:
        file.close()
        raise
    return file


def parse_json(text: str | bytes) -> Any:
    """The value. Raises ValueError where it is not JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: pathlib.Path) -> Any:
    """The value in a JSON file. Raises OSError, ValueError as `read_bytes` and `parse_json` do."""
    return parse_json(read_bytes(path))


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file; empty without one, or with a damaged one."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_damage(error: OSError) -> bool:
    """Whether the error says that there is no such file, and not that it cannot be read now."""
    return error.errno in _DAMAGE
