"""Where are prepared columns kept, and what is in such a folder?

In `data.dir`, or this user's cache: a folder for each source and choice of columns, with an `.npy` file
for each column and a `manifest.json` that holds types, shapes, statistics and sha256.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from strategies.devices.compile_cache import folder as cache_folder
from strategies.errors import os_reason
from trainer.data import address as address_lib
from trainer.data.dataset import DataConfig, DataError
from trainer.data.merge import Column, Merged
from trainer.data.prepared import fresh, verified
from trainer.data.prepared.fresh import Files
from trainer.data.sources import files as files_lib
from trainer.data.statistics import Statistics
from trainer.storage import atomic_files

FORMAT = 1
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Folder:
    """Prepared columns, and their manifest."""

    path: Path
    manifest: dict[str, Any]

    def open(self, verify_all: bool = False) -> Merged:
        """The columns, memory-mapped. Raises DataError where one is missing, was cut or has changed.

        `verify_all`: whether large columns are read and compared too, see `verified.py`.
        """
        recorded = self.manifest["splits"]
        splits = {
            split: {name: self._column(own) for name, own in columns.items()}
            for split, columns in recorded.items()
        }
        files = {
            recorded[split][name]["file"]: column
            for split, columns in splits.items()
            for name, column in columns.items()
        }
        if file := verified.changed(self.path, files, verify_all):
            raise self.damaged(f"{file} with other content than was written")
        # Folders of earlier versions have no names of features.
        names = tuple(self.manifest.get("features", ()))
        return Merged(splits, tuple(self.manifest["classes"]), names)

    def _column(self, recorded: dict[str, Any]) -> Column:
        path = self.path / recorded["file"]  # An absolute path stays one.
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self.damaged(f"{path.name}: {error}") from None
        found = [array.dtype.str, list(array.shape)]
        if found != [recorded["dtype"], recorded["shape"]]:
            raise self.damaged(f"{path.name} has {found[0]} {found[1]}")
        known = recorded["statistics"]
        return Column(array, Statistics(**{**known, "counts": tuple(known["counts"])}))

    def damaged(self, what: str) -> DataError:
        shown = " ".join(what.split())[:200]
        return DataError(
            f"the prepared data in {self.path} is damaged. Received: {shown}; delete the folder, and "
            "prepare it again."
        )


def place(config: DataConfig) -> Path:
    """The folder in which a source is prepared, or would be. Raises as `named`."""
    return named(config, _name(config))


def named(config: DataConfig, name: str) -> Path:
    """The folder of a name for prepared columns, whether it is there or not.

    It is in `data.dir`, unless that can only be read: then in this user's cache. Raises DataError where
    this user has none, or `data.dir` is none.
    """
    if config.dir:
        given = _given(config.dir)
        if (given / name).exists() or is_writable(given):
            return given / name
    return _cache() / name


def _given(text: str) -> Path:
    """The folder `data.dir`. Raises DataError where it is none."""
    if "://" in text:
        raise DataError(
            f"`data.dir` must be a folder on this machine. Received: {text}; copy it first."
        )
    path = files_lib.absolute(text)
    if path.exists() and not path.is_dir():
        raise DataError(f"`data.dir` must be a folder. Received: {path}, which is not one.")
    return path


def is_writable(folder: Path) -> bool:
    """Whether this user may write to a folder, which may have to be made first."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    # Respected as the superuser too: somebody made the folder read-only on purpose.
    return (
        existing.is_dir() and bool(existing.stat().st_mode & 0o222) and os.access(existing, os.W_OK)
    )


def _cache() -> Path:
    try:
        return cache_folder.default(os.environ).with_name("data")
    except cache_folder.RefusedError as error:
        raise DataError(
            f"{error}; name one for prepared data with --config.data.dir=DIR."
        ) from None


def settings(config: DataConfig) -> dict[str, Any]:
    """What decides the columns of a source."""
    address = address_lib.parse(config)
    weights = {"example_weights": config.example_weights} if config.example_weights else {}
    return {
        "kind": address.kind,
        "items": address.names,
        "options": dataclasses.asdict(address.options),
        "features": config.features,
        "target": config.target,
        "features_as": config.features_as,
        "pad_to": config.pad_to,
        **weights,
    }


def _name(config: DataConfig) -> str:
    """Of the folder of a source and choice of columns."""
    wanted = settings(config)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    return f"{wanted['kind']}-{digest}"


def find(config: DataConfig, check_source: bool = True) -> Folder | None:
    """The prepared columns of a source; None where it was not prepared.

    Raises DataError where they are damaged, or the source has changed since.
    """
    path = place(config)
    if not path.exists():
        return None
    found = Folder(path, manifest(path))
    if check_source:
        _check_source(config, found)
    return found


def _check_source(config: DataConfig, found: Folder) -> None:
    then = Files(**found.manifest["files"])
    if not then.count:
        return
    address = address_lib.parse(config)
    now = address.open().files
    if not fresh.is_unchanged(now, then):
        raise DataError(
            f"{address} has changed since it was prepared in {found.path}. Received: {len(now):,} files "
            f"instead of {then.count:,}, or other content, the newest {fresh.newest(now)}; prepare it "
            f"again with `python -m trainer data {address}` and the same --config.data flags."
        )


def write_manifest(path: Path, content: dict[str, Any]) -> None:
    """Writes the manifest of the folder `path`, with a digest of its own."""
    text = json.dumps(content | {"sha256": _digest(content)}, indent=1)
    atomic_files.write_whole(path / MANIFEST, text)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest(path: Path) -> dict[str, Any]:
    """What `write_manifest` has written. Raises DataError where it is damaged, or of a newer version."""
    try:
        found = json.loads((path / MANIFEST).read_text())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise Folder(path, {}).damaged(f"{MANIFEST}: {reason}") from None
    if isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise DataError(
            f"`format` in {path / MANIFEST} must be at most {FORMAT}. Received: {found['format']}, of a "
            "newer version; upgrade muster, or name another folder with --config.data.dir=DIR."
        )
    if found.pop("sha256", None) != _digest(found):
        raise Folder(path, {}).damaged(f"{MANIFEST} with other content than was written")
    return found
