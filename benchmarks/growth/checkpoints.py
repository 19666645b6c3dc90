"""How long does a checkpoint take to be saved and read, and for how long is training held up?

Training waits while the state is copied. A thread packs, hashes and flushes the copy. A save that begins
before the one before it is on the disk waits for that.
"""

import os
import pathlib
import resource
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator

import numpy as np

from benchmarks.growth.part import Part
from strategies.state import State
from trainer.storage.background_save import BackgroundSaver
from trainer.storage.checkpoints import Checkpoint, CheckpointStore
from trainer.storage.layout import Layout

_WEIGHTS, _SLOTS = 4, ("momentum", "velocity")


def _rows(sizes: Iterable[float]) -> Iterator[list[str]]:
    for gigabytes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            disk = shutil.disk_usage(folder).free / 1e9
            memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
            if disk < 3 * gigabytes or memory < 4 * gigabytes:
                reason = (
                    f"needs 3 x on disk and 4 x in memory; free: {disk:.0f} and {memory:.0f} GB"
                )
                yield PART.failed(f"{gigabytes:g}", reason)
                continue
            yield [f"{gigabytes:g}", *_cells(pathlib.Path(folder), gigabytes)]


def _cells(folder: pathlib.Path, gigabytes: float) -> list[str]:
    state = _state(gigabytes)
    names = [f"layer_{number}/kernel" for number in range(_WEIGHTS)]
    store = CheckpointStore(folder, Layout(names, [[*_SLOTS]] * _WEIGHTS, like=state), keep=1)
    with BackgroundSaver(store) as saver:
        began = time.perf_counter()
        saver.save(Checkpoint(1, state))
        held_s = time.perf_counter() - began
        saver.save(Checkpoint(2, state))
        next_s = time.perf_counter() - began - held_s
        saver.flush()
        both_s = time.perf_counter() - began
    began = time.perf_counter()
    assert store.newest()
    read_s = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = (held_s, next_s, both_s / 2, read_s)
    return [*(f"{one:.2f}" for one in seconds), f"{peak:,.0f}"]


def _state(gigabytes: float) -> State:
    """Weights with two slots each, as Adam's, of this size together."""
    length = int(gigabytes * 1e9 / 4 / _WEIGHTS / (1 + len(_SLOTS)))
    random = np.random.default_rng(0)

    def made() -> np.ndarray:
        return random.standard_normal(length, np.float32)

    return State(
        [made() for _ in range(_WEIGHTS)], [[made() for _ in _SLOTS] for _ in range(_WEIGHTS)]
    )


PART = Part(
    "a state with Adam's two slots, on the disk of the folder for temporary files",
    ("GB", "held up, s", "held up by the next at once, s", "a save, s", "read, s", "peak MiB"),
    (0.01, 0.1, 1),
    _rows,
)
