"""How is a source prepared?

Its pieces are read by several processes, each piece is written as a whole, and all pieces are merged into
one `.npy` file for each column. The folder appears when it is complete. A preparation that was killed
continues with the pieces that are missing.
"""

import concurrent.futures
import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from strategies.errors import os_reason
from trainer.data import merge as merge_lib
from trainer.data.address import Address
from trainer.data.dataset import DataError
from trainer.data.merge import Merged
from trainer.data.prepared import folder as folder_lib
from trainer.data.prepared import fresh, verified
from trainer.data.prepared.folder import FORMAT, Folder
from trainer.data.prepared.lock import locked
from trainer.data.selection import Selection
from trainer.data.table import Arrays, Opened, Table
from trainer.process import parent_death
from trainer.storage import atomic_files, atomic_folder

# Called with the fraction that is done, and what is being done.
Progress = Callable[[float, str], None]
_FEW = 4  # Pieces that this process reads itself: to start others would take longer.


def prepare(
    address: Address,
    opened: Opened,
    selection: Selection,
    progress: Progress = lambda done, what: None,
) -> Folder:
    """Prepares a source, unless that is done already.

    Raises DataError where the source is damaged, or its folder cannot be written.
    """
    config = address.config
    place = folder_lib.place(config)
    with locked(place.with_name(f".{place.name}.lock"), str(address), config.download_timeout_s):
        with contextlib.suppress(DataError):  # Changed, or damaged: it is prepared again.
            if found := folder_lib.find(config):
                found.open(verify_all=True)
                return found
        logging.info("data | preparing %s in %s", address, place)
        building = place.with_name(f".building-{place.name}")
        try:
            _begin(building, config, opened)
            parts = _read(building, opened, selection, config.download_timeout_s, progress)
            _merge(address, building, opened, selection, parts, progress)
            _finish(building, place)
        except OSError as error:
            raise DataError(
                f"{place} cannot be written ({os_reason(error)}), to prepare {address} there; give "
                "another folder with --config.data.dir=DIR."
            ) from None
    found = folder_lib.find(config, check_source=False)
    assert found  # It was just written.
    return found


def _begin(building: Path, config: Any, opened: Opened) -> None:
    """Makes the folder of the pieces. Those of an earlier preparation stay if the files are the same."""
    plan = json.dumps(
        [FORMAT, folder_lib.settings(config), fresh.record(opened.files, False).listing]
    )
    file = building / "plan.json"
    if not file.is_file() or file.read_text() != plan:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        atomic_files.write_whole(file, plan)
    shutil.rmtree(building / "columns", ignore_errors=True)
    (building / "columns").mkdir()


@dataclasses.dataclass(frozen=True)
class _Job:
    """A piece to read, for another process."""

    table: Table
    piece: int
    selection: Selection
    target: Path

    def __call__(self) -> None:
        rows = self.selection.apply(self.table.read(self.piece, self.selection.names))
        atomic_folder.write(self.target, {f"{i}.npy": _npy(a) for i, a in enumerate(rows.values())})


def _npy(array: np.ndarray) -> memoryview:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getbuffer()


class _Stored(Mapping[str, np.ndarray]):
    """The columns of a piece, mapped from its files."""

    def __init__(self, path: Path, names: tuple[str, ...]):
        self._path, self._names = path, names

    def __getitem__(self, name: str) -> np.ndarray:
        path = self._path / f"{self._names.index(name)}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # Nothing to map: it has no rows.
            return np.load(path, allow_pickle=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read(
    building: Path, opened: Opened, selection: Selection, timeout_s: float, progress: Progress
) -> dict[str, list[Mapping[str, np.ndarray]]]:
    """The pieces of each split, written as far as they were not."""
    parts: dict[str, list[Mapping[str, np.ndarray]]] = {}
    jobs = []
    for split, table in opened.tables.items():
        if isinstance(table, Arrays):  # They are read where they are.
            parts[split] = [
                selection.apply(table.read(piece, selection.names))
                for piece in range(table.num_pieces)
            ]
            continue
        targets = [building / f"{split}-{piece:06}" for piece in range(table.num_pieces)]
        jobs += [
            _Job(table, piece, selection, target)
            for piece, target in enumerate(targets)
            if not target.exists()
        ]
        parts[split] = [_Stored(target, selection.made) for target in targets]
    missing, total = len(jobs), sum(map(len, parts.values()))
    if jobs and missing < total:
        logging.info("data | %d of %d pieces are there already", total - missing, total)
    for done in _run(jobs, timeout_s):
        progress(0.8 * done / len(jobs), f"read {done} of {len(jobs)} pieces")
    return parts


def _run(jobs: list[_Job], timeout_s: float) -> Iterator[int]:
    """Runs the jobs, and yields how many are done."""
    if len(jobs) < _FEW:
        for number, job in enumerate(jobs, 1):
            job()
            yield number
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        min(len(jobs), len(os.sched_getaffinity(0))),
        multiprocessing.get_context("spawn"),
        parent_death.end_with,
        (os.getpid(), signal.SIGKILL),
    )
    try:
        waiting = {pool.submit(job) for job in jobs}
        while waiting:
            done, waiting = concurrent.futures.wait(
                waiting, timeout_s, concurrent.futures.FIRST_COMPLETED
            )
            if not done:
                raise DataError(
                    f"no piece of the source was read within `data.download_timeout_s`={timeout_s:g}; "
                    "raise it, or check the disk."
                )
            for one in done:
                one.result()
            yield len(jobs) - len(waiting)
    except BrokenProcessPool:
        raise DataError(
            "a process that reads the source was killed, perhaps for its memory; run the same command "
            "again to continue."
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _merge(
    address: Address,
    building: Path,
    opened: Opened,
    selection: Selection,
    parts: Mapping[str, list[Mapping[str, np.ndarray]]],
    progress: Progress,
) -> None:
    """Writes the columns and their manifest."""
    columns = building / "columns"
    files: dict[tuple[str, str], str] = {}
    mapped = _mapped(opened, selection)

    def create(split: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        files[split, name] = file = f"{split}-{len(files)}.npy"
        return np.lib.format.open_memmap(columns / file, "w+", dtype, shape)

    rows = sum(len(part[selection.made[0]]) for own in parts.values() for part in own)
    counter = _Counter(rows * len(selection.made), progress)
    merged = merge_lib.merge(str(address), parts, opened.classes, create, mapped, counter.add)
    in_place = {place: str(array.filename) for place, array in mapped.items()}
    files = in_place | files
    for split, name in files:
        array = merged.splits[split][name].array
        if isinstance(array, np.memmap) and array.mode != "r":
            array.flush()
    merged = dataclasses.replace(merged, features=selection.features)
    manifest = _manifest(address, opened, merged, files, bool(in_place))
    folder_lib.write_manifest(columns, manifest)
    verified.record(columns, files.values())


class _Counter:
    """Reports how many rows of columns are merged."""

    def __init__(self, total: int, progress: Progress):
        self._total, self._done, self._progress = total, 0, progress

    def add(self, rows: int) -> None:
        self._done += rows
        self._progress(0.8 + 0.2 * self._done / self._total, "writing columns")


def _mapped(opened: Opened, selection: Selection) -> dict[tuple[str, str], np.memmap]:
    """The columns that are stored as they are needed, in files of their own."""
    found = {}
    for split, table in opened.tables.items():
        if isinstance(table, Arrays):
            for made, name in selection.unchanged.items():
                array = table.columns[name]
                if isinstance(array, np.memmap) and str(array.filename).endswith(".npy"):
                    found[split, made] = array
    return found


def _manifest(
    address: Address,
    opened: Opened,
    merged: Merged,
    files: Mapping[tuple[str, str], str],
    in_place: bool,
) -> dict[str, Any]:
    splits = {
        split: {
            name: {
                "file": files[split, name],
                "dtype": column.array.dtype.str,
                "shape": column.array.shape,
                "statistics": dataclasses.asdict(column.statistics),
            }
            for name, column in columns.items()
        }
        for split, columns in merged.splits.items()
    }
    return {
        "format": FORMAT,
        "source": folder_lib.settings(address.config),
        "files": dataclasses.asdict(fresh.record(opened.files, not in_place)),
        "classes": merged.classes,
        "features": merged.features,
        "splits": splits,
    }


def _finish(building: Path, place: Path) -> None:
    """Has the columns appear as a whole."""
    for path in (building / "columns").iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    atomic_folder.remove(place)
    os.rename(building / "columns", place)
    shutil.rmtree(building, ignore_errors=True)
