"""Which shares of the data are there, and which labels do they have?

A share is a part of the examples with a name: a split, or what one replica or client reads.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.data.dataset import Dataset
from trainer.order import label_mix

_MAX_LABELS = 100  # With more, targets are no classes that a picture could tell apart.
_MAX_SHARES = 40
_MAX_COUNTED = 1_000_000  # Examples. More are not read to count their labels.


@dataclasses.dataclass(frozen=True)
class Share:
    """`labels`: how many of its examples have each; empty where targets are not classes."""

    name: str
    examples: int
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def of_dataset(dataset: Dataset) -> list[Share]:
    """The splits of a data set."""
    return [
        Share(name, len(split), _named(label_counts(split.targets), dataset.class_names))
        for name, split in dataset.splits.items()
    ]


def of_partition(dataset: Dataset) -> list[Share]:
    """The first shares into which the training examples are divided; none where they are not."""
    if not dataset.partition:
        return []
    mix = label_mix.of(dataset, dataset.partition, dataset.class_names)
    found = []
    for number, size in enumerate(dataset.partition.sizes[:_MAX_SHARES]):
        labels = dict(zip(mix.names, mix.counts[number].tolist(), strict=True)) if mix else {}
        found.append(Share(f"share {number}", size, {name: n for name, n in labels.items() if n}))
    return found


def _named(counts: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """The same counts by the names of the classes, where they have some."""
    return {names[int(label)] if names else label: count for label, count in counts.items()}


def label_counts(targets: Any) -> dict[str, int]:
    """How many targets have each label; empty where they are not classes, or too many to count."""
    if isinstance(targets, Mapping) or targets.ndim != 1 or len(targets) > _MAX_COUNTED:
        return {}
    if targets.dtype.kind not in "iubSU":
        return {}
    labels, counts = np.unique(np.asarray(targets), return_counts=True)
    if len(labels) > _MAX_LABELS:
        return {}
    return dict(zip(map(str, labels.tolist()), counts.tolist(), strict=True))
