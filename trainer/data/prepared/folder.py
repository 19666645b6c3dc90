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
from trainer.data.prepared import fresh
from trainer.data.prepared.fresh import Files
from trainer.data.sources import files as files_lib
from trainer.data.statistics import Statistics

FORMAT = 1
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Folder:
    """Prepared columns, and their manifest."""

    path: Path
    manifest: dict[str, Any]

    def open(self) -> Merged:
        """The columns, memory-mapped. Raises DataError where one is missing or was cut."""
        splits = {
            split: {name: self._column(name, own) for name, own in columns.items()}
            for split, columns in self.manifest["splits"].items()
        }
        return Merged(splits, tuple(self.manifest["classes"]))

    def _column(self, name: str, recorded: dict[str, Any]) -> Column:
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


def root(config: DataConfig) -> Path:
    """The folder that holds all prepared sources. Raises DataError where this user has none."""
    if config.dir:
        return files_lib.absolute(config.dir)
    try:
        return cache_folder.default(os.environ).with_name("data")
    except cache_folder.RefusedError as error:
        raise DataError(
            f"{error}; name one for prepared data with --config.data.dir=DIR."
        ) from None


def settings(config: DataConfig) -> dict[str, Any]:
    """What decides the columns of a source."""
    address = address_lib.parse(config)
    return {
        "kind": address.kind,
        "items": address.names,
        "options": dataclasses.asdict(address.options),
        "features": config.features,
        "target": config.target,
        "features_as": config.features_as,
        "pad_to": config.pad_to,
    }


def place(config: DataConfig) -> Path:
    """The folder in which a source is prepared, whether it is or not."""
    wanted = settings(config)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    return root(config) / f"{wanted['kind']}-{digest}"


def find(config: DataConfig, check_source: bool = True) -> Folder | None:
    """The prepared columns of a source; None where it was not prepared.

    Raises DataError where they are damaged, or the source has changed since.
    """
    path = place(config)
    if not path.exists():
        return None
    found = Folder(path, _manifest(path))
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


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / MANIFEST).read_text())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise Folder(path, {}).damaged(f"{MANIFEST}: {reason}") from None
    if found.get("format", 0) > FORMAT:
        raise DataError(
            f"`format` in {path / MANIFEST} must be at most {FORMAT}. Received: {found['format']}, of a "
            "newer version; upgrade muster, or name another folder with --config.data.dir=DIR."
        )
    if missing := {"splits", "classes", "files", "source"} - {*found}:
        raise Folder(path, {}).damaged(f"{MANIFEST} without {', '.join(sorted(missing))}")
    return found
