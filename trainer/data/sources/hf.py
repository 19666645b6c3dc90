"""What is in a Hugging Face data set? Columns of numbers, text, lists or pictures.

`hf:NAME` downloads it with the package `datasets`, or reads it from that package's cache; `hf:DIR` is a
folder that `save_to_disk` has written. Needs `pip install 'muster[hf]'`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strategies.errors import InputError
from trainer.config.fields import option
from trainer.data.address import Address
from trainer.data.sources import files
from trainer.data.table import Opened, Values

ITEMS_ARE_NAMES = True
_PER_PIECE = 2000


@dataclasses.dataclass(frozen=True)
class Options:
    """Which of its parts are read."""

    config: str = option("", "name of the configuration, for a data set that has several")
    train: str = option("train", "the split to train on")
    test: str = option("test", "the split to test on, if there is one")


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
    address: Address
    dataset: Any  # A datasets.Dataset.

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.dataset.column_names)

    @property
    def num_pieces(self) -> int:
        return -(-len(self.dataset) // _PER_PIECE)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        from trainer.data.sources import arrow

        with files.reported(self.address, Path(self.address.items[0])):
            rows = self.dataset.select_columns(list(names)).with_format("arrow")
            table = rows[piece * _PER_PIECE : (piece + 1) * _PER_PIECE]
            return {name: arrow.values(str(self.address), name, table[name]) for name in names}


def open_source(address: Address) -> Opened:
    found = _load(address)
    options = address.options
    if hasattr(found, "column_names") and not isinstance(found, dict):
        splits = {"all": found}
    elif options.train not in found:
        raise address.error(f"must have a split {options.train!r}", ", ".join(found))
    elif options.test in found:
        splits = {"train": found[options.train], "test": found[options.test]}
    else:
        splits = {"all": found[options.train]}
    paths = tuple(Path(one["filename"]) for own in splits.values() for one in own.cache_files)
    labels = [
        one.names for one in next(iter(splits.values())).features.values() if hasattr(one, "names")
    ]
    return Opened(
        {split: _Rows(address, own) for split, own in splits.items()},
        paths,
        tuple(labels[0]) if len(labels) == 1 else (),
    )


def _load(address: Address) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"`data.source={address}` needs the package datasets. Received: {error}; run "
            "`pip install 'muster[hf]'`."
        ) from None
    folder = files.absolute(address.items[0])
    try:
        if folder.is_dir():
            return datasets.load_from_disk(str(folder))
        return datasets.load_dataset(address.items[0], address.options.config or None)
    except Exception as error:  # Of its many packages.
        shown = f"{type(error).__name__}: {error}"
        raise address.error("cannot be loaded by the package datasets", shown) from None
