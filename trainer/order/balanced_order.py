"""Which example is at position p of epoch e, where each class is trained on equally often?

An epoch has a position for each example. A keyed permutation deals the positions to the classes in turn,
so no two classes differ by more than one position. A class goes through its own examples in a fixed
order, and continues in the next epoch where it ended: so each of its examples is used equally often, up
to one. All of it follows from the seed, the epoch and the classes, as in `sample_order.py`.
"""

import numpy as np

from trainer.order.sample_order import SampleOrder

_EPOCH = 0
_STREAM = 0x636C617373  # Added to the seed, so that no class follows the order of an epoch.


class BalancedOrder(SampleOrder):
    """The order in which a run visits examples of classes `labels`, int [n], from 0 on.

    Raises ValueError as `SampleOrder`, and where a class below the largest one has no example.
    """

    def __init__(self, labels: np.ndarray, global_batch_size: int, seed: int, shuffle: bool = True):
        num_examples = len(labels)
        super().__init__(num_examples, global_batch_size, seed, shuffle)
        self._counts = np.bincount(labels)
        if not self._counts.all():
            raise ValueError(f"class {self._counts.argmin()} has no example.")
        fixed = SampleOrder(num_examples, 1, seed + _STREAM, shuffle)
        members = fixed.examples(_EPOCH, np.arange(num_examples))
        # The examples of class 0, then those of class 1, ...
        self._members = members[np.argsort(labels[members], kind="stable")]
        self._starts = np.cumsum(self._counts) - self._counts
        # How many positions of an epoch are a class's: those that are c modulo the number of classes.
        num_classes = len(self._counts)
        self._shares = (num_examples - np.arange(num_classes) + num_classes - 1) // num_classes

    def _examples(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        labels, draws = self._draws(epoch, positions)
        return self._members[self._starts[labels] + draws % self._counts[labels]]

    def visits(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        labels, draws = self._draws(epoch, positions)
        return draws // self._counts[labels]

    def _draws(self, epoch: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class of each position, and how many examples of that class the run has used before."""
        places = super()._examples(epoch, positions)
        turns, labels = np.divmod(places, len(self._counts))
        return labels, epoch * self._shares[labels] + turns
