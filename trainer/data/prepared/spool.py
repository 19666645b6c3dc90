"""How do examples that are read one after the other become columns?

In memory, or where they take more than `MAX_MEMORY_BYTES` on disk, once: the folder is found again by the
`identity` of the examples, and its columns are memory-mapped.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from absl import logging

from strategies.errors import os_reason
from trainer.data.dataset import DataError
from trainer.data.merge import Part
from trainer.data.prepared import folder as folder_lib
from trainer.data.prepared import verified
from trainer.data.prepared.folder import FORMAT, Folder
from trainer.data.prepared.lock import locked
from trainer.data.statistics import Collector, Statistics
from trainer.storage import atomic_folder

MAX_MEMORY_BYTES = 1 << 30
_SPLIT = "all"  # The only one of such a folder.


@dataclasses.dataclass(frozen=True)
class Spooled:
    """Arrays [n, ...] by name. `sha256`: over them all, where they are in files; else ""."""

    arrays: Mapping[str, np.ndarray]
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Spool:
    """Where examples are stored that do not fit in memory.

    Attributes:
      what: they are, for messages.
      place: returns the folder; raises DataError where there can be none, which only matters to examples
        that do not fit.
      identity: of the examples. It is asked for only where examples are stored, or were.
      timeout_s: seconds to wait for another task that stores them.
    """

    what: str
    place: Callable[[], Path]
    identity: Callable[[], str]
    timeout_s: float

    def read(self, blocks: Callable[[], Iterator[Part]]) -> Spooled:
        """The columns of all blocks, which must have the same names, types and shapes.

        Raises DataError where they differ, or cannot be stored.
        """
        if found := self._stored(self._place_if_any()):
            return found
        kept: list[Part] = []
        size, rest = 0, blocks()
        for block in rest:
            kept.append(block)
            size += sum(array.nbytes for array in block.values())
            if size > MAX_MEMORY_BYTES:
                return self._store(itertools.chain(_drained(kept), rest))
        return Spooled(self._joined(kept))

    def _joined(self, blocks: list[Part]) -> dict[str, np.ndarray]:
        for block in blocks:
            self._check_alike(blocks[0], block)
        return {
            name: np.concatenate([block[name] for block in blocks]) if len(blocks) > 1 else array
            for name, array in (blocks[0] if blocks else {}).items()
        }

    def _check_alike(self, first: Part, block: Part) -> None:
        kinds = [{name: a.shape[1:] for name, a in part.items()} for part in (first, block)]
        if kinds[0] != kinds[1]:
            shown = " and ".join(
                str({name: [*shape] for name, shape in one.items()}) for one in kinds
            )
            raise DataError(f"{self.what} must have one shape. Received: {shown}; make them alike.")

    def _place_if_any(self) -> Path | None:
        with contextlib.suppress(DataError):
            return self.place()
        return None

    def _stored(self, place: Path | None) -> Spooled | None:
        """The columns that an earlier start stored, if these were the same examples."""
        if not place or not place.exists():
            return None
        found = Folder(place, folder_lib.manifest(place))
        if found.manifest["source"] != self.identity():
            return None
        columns = found.open().splits[_SPLIT]
        logging.info("data | %s are in %s; delete it where they have changed", self.what, place)
        digests = [(name, column.statistics.sha256) for name, column in sorted(columns.items())]
        sha256 = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
        return Spooled({name: column.array for name, column in columns.items()}, sha256)

    def _store(self, blocks: Iterator[Part]) -> Spooled:
        place = self.place()
        building = place.with_name(f".building-{place.name}")
        with locked(place.with_name(f".{place.name}.lock"), self.what, self.timeout_s):
            if found := self._stored(place):  # By another task of this machine.
                return found
            logging.info("data | storing %s in %s", self.what, place)
            try:
                shutil.rmtree(building, ignore_errors=True)
                building.mkdir(parents=True)
                self._write(building, blocks)
                atomic_folder.remove(place)
                os.rename(building, place)
            except OSError as error:
                raise DataError(
                    f"{place} cannot be written ({os_reason(error)}), to store {self.what} there; "
                    "give another folder with --config.data.dir=DIR."
                ) from None
            finally:
                shutil.rmtree(building, ignore_errors=True)
        found = self._stored(place)
        assert found  # It was just written.
        return found

    def _write(self, building: Path, blocks: Iterator[Part]) -> None:
        first = next(blocks)
        with contextlib.ExitStack() as files:
            writers = {
                name: _Writer(files.enter_context(open(building / f"{place}.npy", "wb")), array)
                for place, (name, array) in enumerate(first.items())
            }
            for block in itertools.chain([first], blocks):
                self._check_alike(first, block)
                for name, writer in writers.items():
                    if not writer.add(block[name]):
                        raise DataError(
                            f"{self.what} must have one type of {name}. Received: "
                            f"{first[name].dtype} and {block[name].dtype}; convert them."
                        )
            splits = {
                name: writer.finish() | {"file": f"{place}.npy"}
                for place, (name, writer) in enumerate(writers.items())
            }
        manifest: dict[str, Any] = {
            "format": FORMAT, "source": self.identity(), "files": {}, "classes": [],
            "splits": {_SPLIT: splits},
        }  # fmt: skip
        folder_lib.write_manifest(building, manifest)
        verified.record(building, [own["file"] for own in splits.values()])


class _Writer:
    """Writes an `.npy` file whose length is not known before."""

    def __init__(self, file: IO[bytes], like: np.ndarray):
        self._file, self._dtype, self._shape, self._rows = file, like.dtype, like.shape[1:], 0
        self._collector = Collector(counts_classes=False)
        self._write_header()
        self._start = file.tell()

    def add(self, block: np.ndarray) -> bool:
        """Whether the rows are of the first ones' type, and so were written."""
        if not np.can_cast(block.dtype, self._dtype, "safe"):
            return False
        rows = np.ascontiguousarray(block, self._dtype)
        self._file.write(rows.view(np.uint8).data)
        self._collector.add(rows)
        self._rows += len(rows)
        return True

    def finish(self) -> dict[str, Any]:
        """What the manifest says of the column."""
        self._file.seek(0)
        self._write_header()
        assert self._file.tell() == self._start  # NumPy leaves room for the length to grow.
        self._file.flush()
        os.fsync(self._file.fileno())
        statistics: Statistics = self._collector.result()
        return {
            "dtype": self._dtype.str,
            "shape": [self._rows, *self._shape],
            "statistics": dataclasses.asdict(statistics),
        }

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._shape)},
        )


def _drained(blocks: list[Part]) -> Iterator[Part]:
    """The blocks, each of which is forgotten when the next one is asked for."""
    while blocks:
        yield blocks.pop(0)
