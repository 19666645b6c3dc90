"""How does a run test on one fold of its training examples, as in cross-validation?

`test_on_fold` divides the training examples into folds (`trainer/order/folds.py`). One takes the place of
the test examples, and the run trains on all others: nothing is measured on the examples that the source
sets apart for testing. A validation split is then set aside from those that are trained on, as ever.
"""

import dataclasses

import numpy as np

from trainer.data import class_balance
from trainer.data.dataset import DataError, Dataset
from trainer.order import folds as folds_order


def test_on_fold(
    dataset: Dataset, folds: int, fold: int, seed: int, is_stratified: bool
) -> Dataset:
    """The data with `fold` of `folds` as its test split; `folds` of 0: as it is. Raises DataError."""
    if not folds:
        return dataset
    total = len(dataset.train)
    if folds > total:
        raise DataError(
            f"`data.folds` must be at most the number of training examples, which is {total}. Received: "
            f"{folds}; lower it."
        )
    labels = class_balance.class_labels(dataset, "data.stratified") if is_stratified else None
    assigned = folds_order.assignment(total, folds, seed, labels)
    trained, tested = np.flatnonzero(assigned != fold), np.flatnonzero(assigned == fold)
    divided = f"of those to train on, {len(tested)} in fold {fold} of {folds} are tested on instead"
    return dataclasses.replace(
        dataset,
        train=dataset.train.take(trained),
        test=dataset.train.take(tested),
        description=f"{dataset.description}; {divided}",
    )
