"""How long does a large source take to be prepared, and how fast is it trained on in how much memory?

The source is sparse: uint8 rows of 784 zeros, so that it takes no disk; its prepared columns do. The rows
of a step are anywhere in it. Memory counts the pages of the columns that are mapped.
"""

import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from benchmarks.growth.part import Part
from benchmarks.growth.trained import RunFailed, run, train

_ROW_BYTES, _TEST_ROWS, _CLASSES = 784, 1_000, 10
_STEPS = 20_000
_PREPARE_S_PER_GB, _DEADLINE_S = 40.0, 180.0


def write(folder: pathlib.Path, gigabytes: float) -> int:
    """Writes the source, and returns the number of training rows."""
    rows = int(gigabytes * 1e9 / _ROW_BYTES)
    for split, length in (("train", rows), ("test", _TEST_ROWS)):
        np.lib.format.open_memmap(  # A file that is made longer has no blocks for its zeros.
            folder / f"x_{split}.npy", "w+", np.uint8, (length, 28, 28)
        )
        np.save(folder / f"y_{split}.npy", np.arange(length, dtype=np.int32) % _CLASSES)
    return rows


def _rows(sizes: Iterable[float]) -> Iterator[list[str]]:
    for gigabytes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            free = shutil.disk_usage(folder).free / 1e9
            if free < 1.2 * gigabytes + 1:
                yield PART.failed(f"{gigabytes:g}", f"only {free:.0f} GB of disk are free")
                continue
            source = pathlib.Path(folder, "source")
            source.mkdir()
            rows = write(source, gigabytes)
            config = {"data.source": f"npy:{source}", "data.dir": f"{folder}/prepared"}
            flags = [f"--config.{name}={value}" for name, value in config.items()]
            try:
                prepared_s, _ = run(["data", *flags], _DEADLINE_S + _PREPARE_S_PER_GB * gigabytes)
                found = train({**config, "train.steps": _STEPS}, ["train"], _DEADLINE_S)
            except RunFailed as error:
                yield PART.failed(f"{gigabytes:g}", str(error))
                continue
            yield [
                f"{gigabytes:g}", f"{rows:,}", f"{prepared_s:,.1f}", f"{found.seconds:,.1f}",
                f"{found.examples_per_s:,.0f}", f"{found.peak_mib:,.0f}",
            ]  # fmt: skip


PART = Part(
    f"a source of images that is larger than memory may be, {_STEPS:,} steps of 64",
    ("GB", "rows", "seconds to prepare", "seconds of the run", "examples/s", "peak MiB"),
    (1, 10, 50),
    _rows,
)
