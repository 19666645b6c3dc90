"""Which examples does a run train and test on?

Those of a `Dataset`: two splits of arrays, and what a model must know about them. `registry.py` loads one
by its name. Nothing here imports TensorFlow.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from strategies.errors import InputError


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


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Examples and their targets, in a fixed order.

    features: uint8 [n, height, width] for images, float32 [n, features] otherwise.
    targets: int32 [n] classes, or float32 [n, outputs].
    """

    features: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def first(self, num_examples: int) -> "Split":
        return Split(self.features[:num_examples], self.targets[:num_examples])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and what a model must know about them."""

    name: str
    train: Split
    test: Split
    num_classes: int  # 0: a regression.
    num_outputs: int
    description: str  # One sentence, for the log.
    feature_scale: float = 1.0  # Multiplies the features once they are float32.
    truth: Mapping[str, np.ndarray] | None = None  # The weights that made the targets, if known.

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over every example of both splits: equal if two tasks have the same data."""
        digest = hashlib.sha256()
        for array in (self.train.features, self.train.targets, self.test.features,
                      self.test.targets):  # fmt: skip
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
