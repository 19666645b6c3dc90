"""Which examples of the training data are in which share?

A `Partition` says so: P disjoint shares that cover the data. Shares are logical: which worker computes
with one does not change it. `of` divides the data as the config says, and is a pure function of the data,
the seed and the config.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from trainer.order import by_label, clusters, feature_values
from trainer.order import feature as feature_lib
from trainer.order.divide import by_number, cut, shuffled
from trainer.order.errors import PartitionError


class DataConfig(Protocol):
    """The fields of `trainer.config.schema.DataConfig` that decide the shares."""

    @property
    def partition(self) -> str: ...

    @property
    def partitions(self) -> int: ...

    @property
    def partition_by(self) -> str: ...

    @property
    def partition_alpha(self) -> float: ...

    @property
    def partition_components(self) -> int: ...


class TrainConfig(Protocol):
    @property
    def seed(self) -> int: ...


class Config(Protocol):
    """The sections of `trainer.config.schema.ExperimentConfig` that decide the shares."""

    @property
    def data(self) -> DataConfig: ...

    @property
    def train(self) -> TrainConfig: ...


class Examples(Protocol):
    """A `trainer.data.dataset.Split`."""

    @property
    def features(self) -> Any: ...

    @property
    def targets(self) -> Any: ...

    def __len__(self) -> int: ...


class Data(Protocol):
    """A `trainer.data.dataset.Dataset`."""

    @property
    def name(self) -> str: ...

    @property
    def train(self) -> Examples: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def feature_names(self) -> tuple[str, ...]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """The examples of each share: `shares[s]` are their indices, int32, in ascending order.

    No share is empty, and every example of the training data is in one.
    """

    shares: tuple[np.ndarray, ...]
    description: str = ""  # How they were found.

    @classmethod
    def from_assignment(
        cls, assignment: np.ndarray, num_shares: int, description: str = ""
    ) -> "Partition":
        """`assignment`: the share of each example."""
        shares = by_number(assignment, num_shares)
        return cls(tuple(share.astype(np.int32) for share in shares), description)

    def __str__(self) -> str:
        sizes = self.sizes
        return (
            f"{len(sizes)} shares of {min(sizes):,} to {max(sizes):,} examples, {self.description}"
        )

    @property
    def sizes(self) -> list[int]:
        """The number of examples of each share."""
        return [len(share) for share in self.shares]

    @property
    def num_examples(self) -> int:
        return sum(self.sizes)

    @property
    def assignment(self) -> np.ndarray:
        """The share of each example, [num_examples], in the smallest type that holds it."""
        found = np.empty(self.num_examples, np.min_scalar_type(len(self.shares) - 1))
        for number, share in enumerate(self.shares):
            found[share] = number
        return found

    @functools.cached_property
    def sha256(self) -> str:
        """Equal if two partitions are."""
        assignment = self.assignment.astype("<i4")
        return hashlib.sha256(b"%d " % len(self.shares) + assignment.tobytes()).hexdigest()


def of(config: Config, data: Data) -> Partition:
    """The shares of the training data. One share, with all of it, where the config asks for none.

    Raises PartitionError where the data cannot be divided so.
    """
    asked, total, seed = config.data, len(data.train), config.train.seed
    if asked.partitions > total:
        raise PartitionError(
            f"`data.partitions` must be at most the number of training examples, {total}. Received: "
            f"{asked.partitions}; lower it, or use more of the data."
        )
    description = ""
    if asked.partition == "none":
        groups = [np.arange(total)]
    elif asked.partition == "sequential":
        groups = cut(np.arange(total), asked.partitions)
    elif asked.partition == "random":
        groups = cut(shuffled(np.arange(total), seed), asked.partitions)
    elif asked.partition == "by_feature":
        groups = _by_feature(asked, data)
    elif asked.partition == "dirichlet":
        labels = _labels(asked.partition, data)
        groups = by_label.dirichlet(labels, asked.partitions, asked.partition_alpha, seed)
    elif asked.partition == "shards":
        groups = by_label.shards(_labels(asked.partition, data), asked.partitions, seed)
    else:
        find = {"kmeans": clusters.kmeans, "dbscan": clusters.dbscan}[asked.partition]
        features = data.train.features
        arrays = [*features.values()] if isinstance(features, Mapping) else [features]
        found = find(arrays, asked.partitions, asked.partition_components, seed)
        groups, description = found.groups, found.description
    shares = tuple(np.sort(group).astype(np.int32) for group in groups)
    return Partition(shares, description or _described(asked))


def _by_feature(asked: DataConfig, data: Data) -> list[np.ndarray]:
    feature = feature_lib.parse(asked.partition_by)
    columns = feature_values.columns(data.train.features, data.train.targets, data.feature_names)
    found = feature_values.values(columns, feature)
    is_class = feature == feature_lib.Feature() and found.dtype.kind in "iu"
    if is_class and data.num_classes and asked.partitions in (0, data.num_classes):
        counts = np.bincount(found, minlength=data.num_classes)
        if not counts.all():
            raise PartitionError(
                f"`data.partition_by` label must have training examples of {data.num_classes} classes. "
                f"Received: none of class {np.argmin(counts)}; use more of the data, or set "
                f"`data.partitions` to {np.count_nonzero(counts)} or less."
            )
    return feature_values.groups(found, feature, asked.partitions)


def labels_of(data: Data) -> np.ndarray | None:
    """The class of each training example; None where they have none."""
    targets = data.train.targets
    if isinstance(targets, Mapping) or targets.dtype.kind not in "iu" or targets.ndim != 1:
        return None
    return np.asarray(targets)


def _labels(method: str, data: Data) -> np.ndarray:
    labels = labels_of(data)
    if labels is None:
        raise PartitionError(
            f"`data.partition` {method} must have data with one class for each example. Received: "
            f"{data.name}, which has other targets; try random, or by_feature with "
            "--config.data.partition_by=COLUMN:quantiles."
        )
    return labels


def _described(asked: DataConfig) -> str:
    if asked.partition == "by_feature":
        return f"by {asked.partition_by or feature_lib.LABEL}"
    if asked.partition == "dirichlet":
        return f"dirichlet with alpha {asked.partition_alpha:g}"
    return asked.partition
