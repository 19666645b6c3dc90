"""How does a folder of files appear, and disappear, as a whole?

It is built next to its final place, flushed to the disk and renamed; it is renamed before it is deleted.
A process that is killed in between leaves only a hidden folder, which `remove_leftovers` deletes.
"""

import contextlib
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping

from trainer.storage.atomic_files import flush_folder, make_folder

_BUILDING, _REMOVING = ".building-", ".removing-"


# Of a file: its bytes, or what writes them into it. Files are written in their order.
Content = bytes | memoryview | Callable[[io.BufferedRandom], object]


def write(path: pathlib.Path, files: Mapping[str, Content]) -> None:
    """Writes a folder with these files, by name, in place of whatever is there. Raises OSError."""
    make_folder(path.parent)
    building = tempfile.mkdtemp(dir=path.parent, prefix=_BUILDING)
    try:
        for name, content in files.items():
            _write_file(os.path.join(building, name), content)
        os.chmod(building, 0o755)
        flush_folder(pathlib.Path(building))
        remove(path)
        os.rename(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    flush_folder(path.parent)


def remove(path: pathlib.Path) -> None:
    """Removes the folder, or whatever is in its place, in one move."""
    leaving = path.parent / f"{_REMOVING}{path.name}"
    _delete(leaving)
    with contextlib.suppress(OSError):
        os.rename(path, leaving)
    _delete(leaving)


def remove_leftovers(parent: pathlib.Path) -> None:
    """Deletes what a killed `write` or `remove` left behind in a folder."""
    for prefix in (_BUILDING, _REMOVING):
        for leftover in parent.glob(f"{prefix}*"):
            _delete(leftover)


def _delete(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _write_file(path: str, content: Content) -> None:
    with open(path, "w+b") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
