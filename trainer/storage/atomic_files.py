"""How is a file written so that no reader ever sees half of it?

It is written under another name next to its final place, flushed to the disk, and renamed; then its
folder is flushed, as a rename is lost in a power failure before that. A process that is killed in between
leaves a hidden file, which `remove_leftovers` deletes.
"""

import contextlib
import errno
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from strategies.errors import InputError, os_reason
from trainer.process.standard_json import to_json

# What `write_whole` names a file that it has not finished, of those that this program writes.
_LEFTOVER = re.compile(
    r"\.(?:(?:config|summary|model|report|trials|best_config|compare|cross_validation|bad_batch-\d+)\.json"
    r"|(?:report|compare)\.html|\w+\.png|events\.out\.tfevents\.[0-9a-f]+)\.[a-z0-9_]{8}"
)
_NO_FLUSH = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EACCES,
)  # Of a device, and of a folder on some network file systems.


class WorkdirError(InputError):
    """The workdir cannot be used for this run."""


def unwritable(path: pathlib.Path, cause: OSError | str) -> WorkdirError:
    """The error for a folder that cannot be written."""
    reason = cause if isinstance(cause, str) else os_reason(cause)
    return WorkdirError(
        f"`--workdir` cannot be written ({reason}). Received: {str(path)!r}; choose a folder that you "
        "may write to."
    )


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file that becomes `path` as a whole when the body ends. If it fails, nothing is left behind."""
    descriptor, building = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(building, 0o644)
        os.replace(building, path)
    except BaseException:
        os.unlink(building)
        raise
    flush_folder(path.parent)


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file as a whole. If that fails, nothing is left behind."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes what a killed `write_whole` left behind. Call it while the folder is locked."""
    with contextlib.suppress(OSError):
        for name in filter(_LEFTOVER.fullmatch, os.listdir(folder)):
            (folder / name).unlink(missing_ok=True)


def flush_folder(folder: pathlib.Path) -> None:
    """Makes what was created or renamed in the folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush_file(descriptor)
    finally:
        os.close(descriptor)


def flush_file(descriptor: int) -> None:
    """Returns once the file or folder is on the disk. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def make_folder(folder: pathlib.Path) -> None:
    """Creates the folder and its parents, if they are missing, so that they survive a power failure."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        flush_folder(one.parent)


@contextlib.contextmanager
def storing(what: str, path: pathlib.Path | str) -> Iterator[None]:
    """Inside it `what` is written to `path`. Raises WorkdirError in place of OSError."""
    try:
        yield
    except OSError as error:
        raise WorkdirError(
            f"`--workdir` cannot store {what} ({os_reason(error)}). Received: {str(path)!r}; make it "
            "writable, with free space, and run the same command again to resume."
        ) from None


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a file of `to_json`'s text. Raises WorkdirError if that fails."""
    write_file(path, to_json(value, indent=2) + "\n")


def write_file(path: pathlib.Path, content: str | bytes) -> None:
    """Like `write_whole`, but raises WorkdirError if that fails."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error) from None
