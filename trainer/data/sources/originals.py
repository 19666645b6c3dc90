"""What are the original files of a data set of tensorflow-datasets, and are these they?

The package records the address, size and sha256 of each file that it would download. `recorded` reads
these lists without importing the package, which takes a second.
"""

import dataclasses
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from strategies.errors import os_reason
from trainer.data.dataset import DataError


@dataclasses.dataclass(frozen=True)
class Original:
    """A file as the package records it."""

    url: str
    size: int
    sha256: str
    name: str


def recorded(data_set: str) -> list[Original]:
    """The files of a data set; none where the package does not record their names."""
    for package in _package():
        for path in (
            package / "url_checksums" / f"{data_set}.txt",
            package / "datasets" / data_set / "checksums.tsv",
        ):
            if path.is_file():
                return [*_lines(path)]
    return []


def find(data_set: str, field: str, folder: Path, is_optional: bool, some_do: bool) -> bool:
    """Whether a folder has the original files of a data set, which are then verified.

    Args:
      data_set: its name.
      field: what named the folder.
      folder: is searched.
      is_optional: whether the folder may have none of them.
      some_do: whether it need not have all, as for a configuration of the data set.

    Raises DataError where some are missing, or one is damaged or another data set's.
    """
    files = recorded(data_set)
    missing = [file.name for file in files if not (folder / file.name).is_file()]
    has_none = len(missing) == len(files)
    if is_optional and has_none:
        return False
    if missing and (has_none or not some_do):
        raise DataError(
            f"{field} must hold the original files of {data_set}. Received: {folder}, without "
            f"{shown(missing)}; complete it, or train with --config=digits_dense."
        )
    for file in files:
        if file.name not in missing:
            _check(data_set, file, folder / file.name)
    return True


def shown(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _check(data_set: str, file: Original, path: Path) -> None:
    try:
        size = path.stat().st_size
        with open(path, "rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os_reason(error)}.") from None
    if sha256 == file.sha256:
        return
    wrong = f"a sha256 other than {file.sha256}"
    if size != file.size:
        wrong = f"{size} bytes instead of {file.size}"
    if size != file.size and (other := _owner(path.name, size)):
        raise DataError(
            f"{path} must be the file of {data_set}. Received: the file of this name of {other}; train "
            f"on {other} with --config.data.source=tfds:{other}, or copy the other from {file.url}."
        )
    raise DataError(f"{path} is damaged: it has {wrong}. Copy it again from {file.url}.")


def _owner(name: str, size: int) -> str:
    """The data set that has a file of this name and size; "" where none is known."""
    for package in _package():
        for path in sorted((package / "url_checksums").glob("*.txt")):
            if any((file.name, file.size) == (name, size) for file in _lines(path)):
                return path.stem
    return ""


def _lines(path: Path) -> Iterator[Original]:
    for line in path.read_text().splitlines():
        parts = line.split("\t")
        if len(parts) == 4 and parts[1].isdecimal():
            yield Original(parts[0], int(parts[1]), parts[2], parts[3])


def _package() -> list[Path]:
    spec = importlib.util.find_spec("tensorflow_datasets")
    return [Path(path) for path in (spec and spec.submodule_search_locations) or ()]
