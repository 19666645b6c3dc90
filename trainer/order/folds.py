"""Which example is in which fold?

A pure function of their number and a seed: a keyed permutation deals the examples to the folds in turn.
So no two folds differ by more than one example. Stratified, the examples are dealt class by class, so
that no two folds differ by more than one example of any class either.
"""

import numpy as np

from trainer.order.sample_order import SampleOrder

_EPOCH = 0
_STREAM = 0x666F6C64  # Added to the seed, so that the folds say nothing about another choice.


def assignment(
    num_examples: int, folds: int, seed: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """int32 [num_examples]: the fold of each example.

    `labels`: the class of each, for stratified folds. Raises ValueError where a fold would be empty.
    """
    if not 1 <= folds <= num_examples:
        raise ValueError(f"`folds` must be from 1 to {num_examples}. Received: {folds}.")
    dealt = SampleOrder(num_examples, 1, seed + _STREAM).examples(_EPOCH, np.arange(num_examples))
    if labels is not None:
        dealt = dealt[np.argsort(labels[dealt], kind="stable")]
    found = np.empty(num_examples, np.int32)
    found[dealt] = np.arange(num_examples, dtype=np.int32) % folds
    return found
