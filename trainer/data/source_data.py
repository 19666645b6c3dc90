"""Which examples does a run train and test on, where `data.source` names them?

`load` opens the source, chooses features and target, and checks both. A source that was prepared is
memory-mapped; a small one is read into memory, and a larger one is prepared first.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.data import address as address_lib
from trainer.data import merge as merge_lib
from trainer.data import selection as selection_lib
from trainer.data.address import Address
from trainer.data.dataset import DataConfig, DataError, Dataset, Split
from trainer.data.merge import Column, Merged
from trainer.data.prepared import folder, prepare
from trainer.data.selection import FEATURES, TARGET, WEIGHTS, Selection, part_of
from trainer.data.source_checks import check_values
from trainer.data.table import Opened
from trainer.order.sample_order import SampleOrder

MAX_LOADED_BYTES = 64 << 20  # Of files that are read at each start, instead of being prepared.


def load(config: DataConfig) -> Dataset:
    """The examples of `data.source`. Prepares them first where they are too large to be read each time.

    Raises DataError where they are missing, damaged, not what the config says, or have changed since
    they were prepared.
    """
    address = address_lib.parse(config)
    found = folder.find(config)
    if not found:
        opened = address.open()
        if _is_loaded(opened):
            return dataset(address, read(address, opened))
        found = prepare.prepare(address, opened, select(address, opened))
    return dataset(address, found.open(), f", prepared in {found.path}")


def describe(config: DataConfig) -> str:
    """What `load` would do and find. It reads a small source, but prepares none. Raises as `load`."""
    address = address_lib.parse(config)
    if found := folder.find(config):
        return dataset(address, found.open(), f", prepared in {found.path}").description
    if reason := address.not_ready():
        return reason
    opened = address.open()
    if _is_loaded(opened):
        return f"{dataset(address, read(address, opened)).description}; read at each start"
    selection = select(address, opened)
    return (
        f"{address}: {_size(opened) / 1e9:.2f} GB, features {', '.join(selection.features)}, target "
        f"{', '.join(selection.target)}; the first start prepares it in {folder.place(config)}"
    )


def select(address: Address, opened: Opened) -> Selection:
    """The columns that the config asks for, of a source that is open."""
    table = next(iter(opened.tables.values()))
    wanted = [*table.names]
    for other in opened.tables.values():
        if {*other.names} != {*wanted}:
            raise address.error(
                "must have the same columns in each file",
                f"{', '.join(sorted({*other.names} ^ {*wanted}))} in one of them only",
            )
    sample = opened.sample or table.read(0, wanted)
    return selection_lib.choose(str(address), wanted, sample, address.config)


def read(address: Address, opened: Opened) -> Merged:
    """All columns in memory."""
    selection = select(address, opened)
    parts = {
        split: [selection.apply(table.read(i, selection.names)) for i in range(table.num_pieces)]
        for split, table in opened.tables.items()
    }
    merged = merge_lib.merge(str(address), parts, opened.classes)
    return dataclasses.replace(merged, features=selection.features)


def _size(opened: Opened) -> int:
    return sum(path.stat().st_size for path in opened.files)


def _is_loaded(opened: Opened) -> bool:
    """Whether it is read at each start."""
    return opened.sample is None and _size(opened) <= MAX_LOADED_BYTES


def dataset(address: Address, merged: Merged, where_read: str = "") -> Dataset:
    """The data set made of the columns of a source. Raises DataError where its values are wrong."""
    where, config = str(address), address.config
    target = merged.splits[next(iter(merged.splits))][TARGET].array
    check_values(where, merged)
    splits = _splits(config, merged)
    num_classes = _num_classes(merged) if target.dtype.kind in "iu" else 0
    outputs = num_classes or (target.shape[1] if target.ndim > 1 else 1)
    image = merged.splits[next(iter(merged.splits))].get(FEATURES)
    is_image = bool(image and image.array.dtype == np.uint8 and image.array.ndim >= 3)
    return Dataset(
        name=where,
        train=splits["train"],
        test=splits["test"],
        num_classes=num_classes,
        num_outputs=outputs,
        description=_description(where, splits, num_classes) + where_read,
        feature_scale=1 / 255 if is_image else 1.0,
        identity=_identity(config, merged),
        feature_names=merged.features,
        class_names=merged.classes,
    )


def _splits(config: DataConfig, merged: Merged) -> dict[str, Split]:
    made = {name: _split(columns) for name, columns in merged.splits.items()}
    if "all" not in made:
        return made
    whole = made["all"]
    held_out = round(config.test_fraction * len(whole))
    if not 0 < held_out < len(whole):
        raise DataError(
            "`data.test_fraction` must leave at least one example to train on and one to test on. "
            f"Received: {config.test_fraction:g} of {len(whole):,}; set another."
        )
    order = SampleOrder(len(whole), 1, config.split_seed).examples(0, np.arange(len(whole)))
    rows = {"test": np.sort(order[:held_out]), "train": np.sort(order[held_out:])}
    return {name: whole.take(own) for name, own in rows.items()}


def _split(columns: Mapping[str, Column]) -> Split:
    arrays = {name: column.array for name, column in columns.items()}
    target = arrays[TARGET]
    if target.dtype.kind == "f" and target.ndim == 1:
        target = target[:, np.newaxis]
    return Split(part_of(arrays, FEATURES), target, arrays.get(WEIGHTS))


def _num_classes(merged: Merged) -> int:
    if merged.classes:
        return len(merged.classes)
    return 1 + int(max(columns[TARGET].statistics.high for columns in merged.splits.values()))


def _description(where: str, splits: Mapping[str, Split], num_classes: int) -> str:
    kind = f"{num_classes} classes" if num_classes else "a regression"
    return (
        f"{len(splits['train']):,} examples to train on and {len(splits['test']):,} to test on, {kind}, "
        f"from {where}"
    )


def _identity(config: DataConfig, merged: Merged) -> str:
    """sha256 over every example, by the digests of the columns, and how they are divided."""
    columns: list[Any] = [
        (split, name, column.array.dtype.str, column.array.shape, column.statistics.sha256)
        for split, own in merged.splits.items()
        for name, column in own.items()
    ]
    divided = [config.test_fraction, config.split_seed] if "all" in merged.splits else []
    text = json.dumps([sorted(columns), merged.classes, divided])
    return hashlib.sha256(text.encode()).hexdigest()


def for_own_model(dataset: Dataset) -> Dataset:
    """The same for a recipe's own model, which gets features as they are, unless they are images."""
    if dataset.feature_scale == 1.0:
        return dataclasses.replace(dataset, feature_scale=None)
    return dataset
