"""Which classes do the examples of each share have, and how far is that from the whole data?

`of` counts them. The distance is the Jensen-Shannon divergence of the class frequencies, in bits: 0 where
a share has every class as often as the whole data, and near 1 where it has only classes that are rare.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer.order.partition import Data, Partition, labels_of

_RANGES = 10  # Of a regression's targets, of about one size.


@dataclasses.dataclass(frozen=True, eq=False)
class LabelMix:
    """`counts[s, c]`: the examples of share s that have class c; `names`: of the classes."""

    names: tuple[str, ...]
    counts: np.ndarray

    @property
    def divergence(self) -> np.ndarray:
        """Bits, [shares]: of each share's class frequencies from those of all data."""
        share = self.counts / self.counts.sum(axis=1, keepdims=True)
        whole = self.counts.sum(axis=0) / self.counts.sum()
        middle = (share + whole) / 2
        return (_relative_entropy(share, middle) + _relative_entropy(whole, middle)) / 2

    @property
    def mean_divergence(self) -> float:
        """Of the examples: large shares count more."""
        return float(np.average(self.divergence, weights=self.counts.sum(axis=1)))


def of(data: Data, partition: Partition, names: Sequence[str] = ()) -> LabelMix | None:
    """The classes of each share; None where an example has neither one class nor one number.

    A regression's targets are counted in ranges. `names`: of the classes, where they have some.
    """
    labels = labels_of(data)
    if labels is None:
        targets = data.train.targets
        if not hasattr(targets, "dtype") or targets.dtype.kind not in "iuf":
            return None
        values = np.asarray(targets).reshape(len(targets), -1)
        if values.shape[1] != 1:
            return None
        bounds = np.unique(np.quantile(values, np.arange(1, _RANGES) / _RANGES))
        labels = np.searchsorted(bounds, values[:, 0], side="right")
        names = [*(f"below {bound:.3g}" for bound in bounds), f"from {bounds[-1]:.3g}"]
    elif not data.num_classes:  # Of a recipe's own data, which may count from anywhere.
        found, labels = np.unique(labels, return_inverse=True)
        names = [*map(str, found.tolist())]
    names = names or [*map(str, range(data.num_classes))]
    counts = [np.bincount(labels[share], minlength=len(names)) for share in partition.shares]
    return LabelMix(tuple(names), np.stack(counts))


def _relative_entropy(share: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Bits, over the last axis; a class that does not occur adds nothing."""
    occurs = share > 0
    ratio = np.divide(share, middle, out=np.ones_like(middle), where=occurs)
    return (share * np.log2(ratio)).sum(axis=-1)
