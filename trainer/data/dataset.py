"""Which examples does a run train and test on?

Those of a `Dataset`: two splits of arrays, and what a model must know about them. `registry.py` loads one
by its name. Nothing here imports TensorFlow.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from strategies.errors import InputError
from trainer.data.rows import one_after_another, take
from trainer.order.partition import Partition


class DataError(InputError):
    """The data is missing, damaged or not what the config says; the message says how to fix it."""


class DataConfig(Protocol):
    """The fields of `trainer.config.schema.DataConfig` that decide what is loaded."""

    @property
    def name(self) -> str: ...

    @property
    def dir(self) -> str: ...

    @property
    def train_examples(self) -> int: ...

    @property
    def download_timeout_s(self) -> float: ...

    @property
    def source(self) -> str: ...

    @property
    def features(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def features_as(self) -> str: ...

    @property
    def pad_to(self) -> int: ...

    @property
    def test_fraction(self) -> float: ...

    @property
    def split_seed(self) -> int: ...

    @property
    def example_weights(self) -> str: ...


# An array [n, ...], or arrays [n, ...] by name.
Columns = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Examples and their targets, in a fixed order.

    features: uint8 [n, height, width] for images, float32 [n, features] otherwise; a recipe's own may be
      any array [n, ...], or such arrays by name.
    targets: int32 [n] classes, or float32 [n, outputs]; a recipe's own as its features.
    weights: float32 [n], factors of the training loss, above 0; None: 1 for all.
    """

    features: Columns
    targets: Columns
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Every array of the features, then of the targets."""
        return (*_arrays(self.features), *_arrays(self.targets))

    @property
    def all_arrays(self) -> tuple[np.ndarray, ...]:
        """`arrays`, and the weights last, if there are any."""
        return self.arrays if self.weights is None else (*self.arrays, self.weights)

    @property
    def bytes_per_example(self) -> int:
        """Of the features."""
        return sum(array[:1].nbytes for array in _arrays(self.features))

    def first(self, num_examples: int) -> "Split":
        return self._with(lambda array: array[:num_examples])

    def take(self, indices: np.ndarray) -> "Split":
        """These examples: copied from memory, or views of a file."""
        return self._with(lambda array: take(array, indices))

    def unpack(self, arrays: tuple) -> tuple[Columns, Columns]:
        """(features, targets) from arrays, or tensors, in the order of `arrays`."""
        rest = iter(arrays)
        return _like(self.features, rest), _like(self.targets, rest)

    def _with(self, change: Callable[[Any], Any]) -> "Split":
        weights = None if self.weights is None else change(self.weights)
        return Split(*self.unpack(tuple(map(change, self.arrays))), weights)


def joined(splits: Sequence[Split]) -> Split:
    """One split with the examples of all, in their order, without their weights."""
    if len(splits) == 1:
        return splits[0]
    arrays = zip(*(split.arrays for split in splits), strict=True)
    return Split(*splits[0].unpack(tuple(map(one_after_another, arrays))))


def _arrays(columns: Columns) -> list[np.ndarray]:
    return list(columns.values()) if isinstance(columns, Mapping) else [columns]


def _like(columns: Columns, arrays: Iterator[Any]) -> Columns:
    return (
        {name: next(arrays) for name in columns} if isinstance(columns, Mapping) else next(arrays)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and what a model must know about them."""

    name: str
    train: Split
    test: Split
    num_classes: int  # 0: a regression, or a recipe's own.
    num_outputs: int  # 0: a recipe's own.
    description: str  # One sentence, for the log.
    # Multiplies the features once they are float32; None: they stay as they are.
    feature_scale: float | None = 1.0
    truth: Mapping[str, np.ndarray] | None = None  # The weights that made the targets, if known.
    # A digest of all that the splits were made of, where it is known without reading them again.
    identity: str = ""
    validation: Split | None = None  # Evaluated during training, in place of the test split.
    feature_names: tuple[str, ...] = ()  # Of the columns of features that are a matrix, if known.
    partition: Partition | None = None  # The shares of the training examples, once they are found.
    class_names: tuple[str, ...] = ()  # Where the targets were text, in the order of their numbers.

    @property
    def splits(self) -> dict[str, Split]:
        """By name: train, validation where there is one, and test."""
        held_out = {"validation": self.validation} if self.validation else {}
        return {"train": self.train, **held_out, "test": self.test}

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over every example of all splits: equal if two tasks have the same data."""
        if self.identity:
            lengths = [len(split) for split in self.splits.values()]
            return hashlib.sha256(f"{self.identity} {lengths}".encode()).hexdigest()
        return fingerprint(self.splits.values())


def fingerprint(splits: Iterable[Split]) -> str:
    """sha256 over every example of some splits."""
    digest = hashlib.sha256()
    for split in splits:
        weights = () if split.weights is None else (split.weights,)
        for columns in (split.features, split.targets, *weights):
            if isinstance(columns, Mapping):
                digest.update(json.dumps(list(columns)).encode())
            for array in _arrays(columns):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()
