"""How long does a sweep's ledger take to be written, read and replayed, as it gets longer?

The lines are those of a random search, two for each trial. They are written to memory where Linux has a
folder for that, so that the time is that of the program; what the disk adds is a row of its own.
"""

import os
import pathlib
import tempfile
import time
from collections.abc import Iterable, Iterator

from benchmarks.growth.made_sweep import MadeSweep
from benchmarks.growth.part import Part
from trainer.tune.search.ledger import Ledger

_MEMORY = pathlib.Path("/dev/shm")
_DISK_LINES = 200


def _rows(sizes: Iterable[float]) -> Iterator[list[str]]:
    in_memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    for lines in map(int, sizes):
        with tempfile.TemporaryDirectory(dir=in_memory) as folder:
            yield [f"{lines:,}", *_cells(pathlib.Path(folder), lines)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        _write(pathlib.Path(folder, "ledger.jsonl"), _DISK_LINES)
        each_ms = 1e3 * (time.perf_counter() - began) / _DISK_LINES
    yield PART.failed("on disk", f"{each_ms:.2f} ms a line")


def _cells(folder: pathlib.Path, lines: int) -> list[str]:
    made = MadeSweep(folder, "random", lines // 2)
    with made.search() as search:
        began = time.process_time()
        count = made.run(search)
        write_s = time.process_time() - began
    began = time.process_time()
    path = folder / "ledger.jsonl"
    Ledger(path, {"seed": 1}).close()
    read_s = time.process_time() - began
    began = time.process_time()
    with made.search():
        opened_s = time.process_time() - began
    size = path.stat().st_size / 1e6
    each = [f"{1e3 * seconds / count:.2f}" for seconds in (write_s, opened_s)]
    return [f"{size:,.1f}", each[0], f"{read_s:.2f}", f"{opened_s:.2f}", each[1]]


def _write(path: pathlib.Path, count: int) -> None:
    """Appends lines alone, each flushed to the disk before the next."""
    ledger = Ledger(path, {})
    for number in range(count):
        ledger.write("interrupted", id=f"{number:04d}", seconds=1.0)
    ledger.close()


PART = Part(
    "the processor time of a ledger of random search, without result files",
    ("lines", "MB", "ms a trial", "seconds to read", "seconds to resume", "ms a trial to resume"),
    (1_000, 10_000, 100_000),
    _rows,
)
