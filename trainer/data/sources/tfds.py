"""What is in a data set of tensorflow-datasets? The features that it documents, such as image and label.

`tfds:NAME` or `tfds:NAME/CONFIG:VERSION`. It is taken from `data.dir`, TFDS_DATA_DIR or
~/tensorflow_datasets if it is prepared there, else tensorflow-datasets prepares it: from its original
files, or from the network. A folder with these files is `files=DIR`, `data.dir`, or named by a variable:
MUSTER_FASHION_MNIST_DIR. TensorFlow runs in other processes.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from trainer.config.fields import option
from trainer.data.address import Address
from trainer.data.prepared.lock import locked
from trainer.data.sources import tfds_plan, tfds_process
from trainer.data.sources.tfds_plan import Plan
from trainer.data.table import PIECE_BYTES, Arrays, Opened, Table, Values

ITEMS_ARE_NAMES = True
_PIECE_BYTES = 8 * PIECE_BYTES  # Larger than of other sources, as each piece takes a process.


@dataclasses.dataclass(frozen=True)
class Options:
    """Which of its parts are read."""

    train: str = option("train", "the split to train on")
    test: str = option("test", "the split to test on, if there is one")
    files: str = option("", "folder with the original files, which are then not downloaded")


@dataclasses.dataclass(frozen=True)
class _Split:
    """Some of the rows of a data set that is prepared. `names`: its features."""

    plan: Plan
    job: Mapping[str, Any]
    timeout_s: float
    names: tuple[str, ...]
    rows: int
    rows_per_piece: int

    @property
    def num_pieces(self) -> int:
        return -(-self.rows // self.rows_per_piece)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        start = piece * self.rows_per_piece
        job = {**self.job, "start": start, "stop": min(start + self.rows_per_piece, self.rows)}
        columns = _run(self.plan, "read", job, self.timeout_s)
        return {name: _squeezed(columns[name]) for name in names}


def open_source(address: Address) -> Opened:
    plan, options = tfds_plan.plan(address), address.options
    timeout_s = address.config.download_timeout_s
    job = {
        "name": address.items[0],
        "root": str(plan.root),
        "files": str(plan.files or ""),
        "scratch": str(plan.scratch),
        "splits": [options.train, options.test],
        "small": _PIECE_BYTES,
    }
    with _preparing(plan, timeout_s):
        about = _run(plan, "find", job, timeout_s)
    rows = {str(split): int(count) for split, count in about["splits"].tolist()}
    if options.train not in rows:
        raise address.error(f"must have a split {options.train!r}", ", ".join(rows), "name another")
    wanted = {"all": options.train}
    if options.test in rows:
        wanted = {"train": options.train, "test": options.test}
    names = tuple(str(name) for name in about["names"].tolist())
    per_piece = max(1, _PIECE_BYTES // max(int(about["row_bytes"]), 1))

    def table(split: str) -> Table:
        if f"{split}/{names[0]}" in about:
            return Arrays({name: _squeezed(about[f"{split}/{name}"]) for name in names})
        own = {**job, "split": split}
        return _Split(
            dataclasses.replace(plan, is_prepared=True),
            own,
            timeout_s,
            names,
            rows[split],
            per_piece,
        )

    return Opened(
        {as_: table(split) for as_, split in wanted.items()},
        (),  # It is known by its name and version, wherever its records are.
        tuple(str(one) for one in about["classes"].tolist()),
        {name: _squeezed(about[f"sample/{name}"]) for name in names},
    )


def not_ready(address: Address) -> str:
    """What a start would do first, which takes longer than to read files. Raises as `open_source`."""
    return tfds_plan.plan(address).what


@contextlib.contextmanager
def _preparing(plan: Plan, timeout_s: float) -> Iterator[None]:
    """While the body runs no other task of this machine prepares it. No incomplete files are left."""
    if plan.is_prepared:
        yield
        return
    with locked(plan.lock, plan.data_set, timeout_s):
        logging.info("data | %s", plan.what)
        try:
            shutil.rmtree(plan.scratch, ignore_errors=True)  # Left by a task that was killed.
            yield
        finally:
            shutil.rmtree(plan.scratch, ignore_errors=True)


def _run(plan: Plan, what: str, job: Mapping[str, Any], timeout_s: float) -> dict[str, np.ndarray]:
    try:
        return tfds_process.run(what, job, timeout_s)
    except tfds_process.Failed as error:
        raise plan.explain(str(error)) from None


def _squeezed(values: np.ndarray) -> np.ndarray:
    """Grey pictures have one channel here, and none where they are read from files."""
    is_grey = values.ndim == 4 and values.shape[-1] == 1 and values.dtype == np.uint8
    return values[..., 0] if is_grey else values
