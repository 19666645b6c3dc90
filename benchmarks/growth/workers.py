"""How much faster do more workers of one machine train, and in how much memory?

Each has 64 examples of a step, so a step of n workers is n times as large. Efficiency is the speed over
that of one worker times the number of workers, or of cores where there are fewer.
"""

import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

from benchmarks import prepare
from benchmarks.growth.part import Part
from benchmarks.growth.trained import RunFailed, train
from benchmarks.tables import ALL_EXAMPLES

_BATCH, _EPOCHS, _DEADLINE_S = 64, 5, 150.0
_MIN_BLOCKS = 4


def _rows(sizes: Iterable[float]) -> Iterator[list[str]]:
    cores, one = len(os.sched_getaffinity(0)), 0.0
    with tempfile.TemporaryDirectory() as folder:
        prepare.write_source(pathlib.Path(folder), prepare.prototypes())
        for workers in map(int, [1, *(size for size in sizes if size != 1)]):
            config = {
                "data.source": f"npz:{folder}/examples.npz",
                "data.train_examples": ALL_EXAMPLES // (_BATCH * workers) * _BATCH * workers,
                "data.global_batch_size": _BATCH * workers,
                "train.reduction_blocks": max(_MIN_BLOCKS, workers),
                "train.epochs": _EPOCHS,
            }
            try:
                found = train(config, ["launch", f"--workers={workers}", "--"], _DEADLINE_S)
            except RunFailed as error:
                yield PART.failed(str(workers), str(error))
                continue
            one = one or found.examples_per_s
            share = found.examples_per_s / one / min(workers, cores)
            yield [
                str(workers), f"{found.examples_per_s:,.0f}", f"{share:.2f}",
                f"{found.peak_mib:,.0f}", f"{found.peak_mib / workers:,.0f}",
            ]  # fmt: skip


PART = Part(
    "the dense net, 64 examples a worker, gradients every step",
    ("workers", "examples/s of all", "efficiency per core", "MiB of all", "MiB a worker"),
    (2, 4, 8, 16),
    _rows,
)
