"""Which files does a source name, and what is said where one is damaged?

Its items are files, patterns or folders, whose files are sorted by name. A damaged one is one line that
names it.
"""

import contextlib
import glob
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from strategies.errors import InputError, os_reason
from trainer.config.fields import short_json
from trainer.data.address import Address
from trainer.data.dataset import DataError
from trainer.data.table import Opened, Table


def absolute(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def found(address: Address, exactly: int = 0, in_folder: str = "") -> tuple[Path, ...]:
    """The files that a source names, each name's in order. Raises DataError where one is not there.

    Args:
      address: its items are files, patterns such as part-*.csv, or folders.
      exactly: how many items there must be; 0: any number.
      in_folder: the pattern of the files that are read of a folder; "": folders are not accepted.
    """
    if exactly and len(address.items) != exactly:
        raise address.error(f"must name {exactly} file", f"{len(address.items)}: {address.items}")
    return tuple(path for item in address.items for path in of_item(address, item, in_folder))


def of_item(address: Address, item: str, in_folder: str = "") -> list[Path]:
    """The files of one item: itself, those of a pattern, or those in a folder, sorted by name."""
    path = absolute(item)
    if path.is_dir() and in_folder:
        paths = [*path.glob(in_folder)]
        if not paths:
            raise address.error(f"must be a folder with {in_folder} files", f"{path} without any")
        return in_order(paths)
    if not path.exists() and glob.has_magic(item):
        paths = [Path(name) for name in glob.glob(str(path))]
        if not paths:
            raise address.error("must match files", f"{short_json(item)}, which matches none")
        return in_order(paths)
    if not path.is_file():
        what = "which is a folder" if path.is_dir() else "which is not there"
        raise address.error("must name a file", f"{path}, {what}", "correct the path")
    return [path]


def in_order(paths: list[Path]) -> list[Path]:
    """Sorted, with numbers in names compared as numbers: part-2 is before part-10."""
    return sorted(paths, key=lambda path: (_key(str(path)), str(path)))


def _key(text: str) -> list:
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part)
            for part in re.split(r"(\d+)", text) if part]  # fmt: skip


def splits(address: Address, in_folder: str = "") -> dict[str, list[Path]]:
    """The files of each split: the first item is to train on, a second one to test on."""
    if len(address.items) > 2:
        raise address.error(
            "must name files to train on and perhaps files to test on",
            f"{len(address.items)} names",
            "name several files by a pattern, as in part-*.csv",
        )
    names = ["all"] if len(address.items) == 1 else ["train", "test"]
    return {
        name: of_item(address, item, in_folder)
        for name, item in zip(names, address.items, strict=True)
    }


def opened(
    address: Address, in_folder: str, table: Callable[[Address, list[Path]], Table]
) -> Opened:
    """The source whose splits are what `table` makes of the files of each."""
    found_splits = splits(address, in_folder)
    tables = {split: table(address, paths) for split, paths in found_splits.items()}
    return Opened(tables, tuple(path for paths in found_splits.values() for path in paths))


@contextlib.contextmanager
def reported(address: Address, path: Path) -> Iterator[None]:
    """Turns whatever a reader raises while the body runs into one line that names the file."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os_reason(error)}.") from None
    except MemoryError:
        raise
    except Exception as error:  # Each library that reads files has its own.
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception | str) -> DataError:
    shown = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(
        f"{path} is damaged or not what its kind says: {shown}; copy or make it again."
    )
