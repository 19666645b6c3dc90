"""What is in a data set of tensorflow-datasets? The features that it documents, such as image and label.

`tfds:NAME` or `tfds:NAME/CONFIG:VERSION`. It is taken from `data.dir`, TFDS_DATA_DIR or
~/tensorflow_datasets if it is prepared there, else tensorflow-datasets prepares it: from the original
files, where `files=DIR` names a folder that has them, or from the network. TensorFlow runs in other
processes.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.fields import option
from trainer.data.address import Address
from trainer.data.dataset import DataError
from trainer.data.sources import files, tfds_process
from trainer.data.table import PIECE_BYTES, Opened, Values

ITEMS_ARE_NAMES = True
_PIECES = 8  # Times larger than others, as each takes a process.


@dataclasses.dataclass(frozen=True)
class Options:
    """Which of its parts are read."""

    train: str = option("train", "the split to train on")
    test: str = option("test", "the split to test on, if there is one")
    files: str = option("", "folder with the original files, which are then not downloaded")


@dataclasses.dataclass(frozen=True)
class _Split:
    """Some of the rows of a data set that is prepared. `names`: its features."""

    address: Address
    job: Mapping[str, Any]
    names: tuple[str, ...]
    rows: int
    rows_per_piece: int

    @property
    def num_pieces(self) -> int:
        return -(-self.rows // self.rows_per_piece)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        start = piece * self.rows_per_piece
        job = {**self.job, "start": start, "stop": min(start + self.rows_per_piece, self.rows)}
        columns = _run(self.address, "read", job)
        return {name: _squeezed(columns[name]) for name in names}


def _squeezed(values: np.ndarray) -> np.ndarray:
    """Grey pictures have one channel here, and none where they are read from files."""
    is_grey = values.ndim == 4 and values.shape[-1] == 1 and values.dtype == np.uint8
    return values[..., 0] if is_grey else values


def open_source(address: Address) -> Opened:
    (name,) = address.items
    options = address.options
    job = {
        "name": name,
        "roots": [str(files.absolute(root)) for root in _roots(address)],
        "files": str(files.absolute(options.files)) if options.files else "",
    }
    about = _run(address, "find", job)
    splits = {str(split): int(rows) for split, rows in about["splits"].tolist()}
    if options.train not in splits:
        raise address.error(
            f"must have a split {options.train!r}", ", ".join(splits), "name another"
        )
    wanted = {"all": options.train}
    if options.test in splits:
        wanted = {"train": options.train, "test": options.test}
    names = tuple(str(one) for one in about["names"].tolist())
    size = max(int(about["row_bytes"]), 1)
    tables = {
        as_: _Split(
            address,
            {"name": name, "root": str(about["root"]), "split": split},
            names,
            splits[split],
            max(1, _PIECES * PIECE_BYTES // size),
        )
        for as_, split in wanted.items()
    }
    folder = Path(str(about["folder"]))
    paths = tuple(files.in_order([path for path in folder.iterdir() if path.is_file()]))
    sample = {name: _squeezed(about[f"sample/{name}"]) for name in names}
    return Opened(tables, paths, tuple(str(one) for one in about["classes"].tolist()), sample)


def not_ready(address: Address) -> str:
    """Says that tensorflow-datasets would have to prepare it; "" where a folder of that name is there."""
    name = address.items[0].partition(":")[0].partition("/")[0]
    roots = [files.absolute(root) for root in _roots(address)]
    if any((root / name).is_dir() for root in roots):
        return ""
    original = address.options.files
    return (
        f"{address} is not prepared in {' or '.join(map(str, roots))}; the first start has "
        f"tensorflow-datasets {f'prepare it from {original}' if original else 'download it'}"
    )


def _roots(address: Address) -> list[str]:
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return [root for root in (address.config.dir, default) if root]


def _run(address: Address, what: str, job: Mapping[str, Any]) -> dict[str, np.ndarray]:
    try:
        return tfds_process.run(what, job, address.config.download_timeout_s)
    except tfds_process.Failed as error:
        raise DataError(
            f"`data.source={address}` cannot be read or prepared by tensorflow-datasets. Received: "
            f"{error}; correct the name, or name a folder with its original files by adding `,files=DIR`."
        ) from None
