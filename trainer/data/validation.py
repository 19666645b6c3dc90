"""Which training examples does a run evaluate on, and not train on?

`set_aside` takes a fraction of them as the validation split. Which ones follows from the seed and from
their number alone, so they are the same on every task and when a run resumes.
"""

import dataclasses

import numpy as np

from trainer.data.dataset import DataError, Dataset
from trainer.order.sample_order import SampleOrder

_EPOCH = 0
_STREAM = (
    0x76616C6964  # Added to the seed, so that the choice says nothing about the order of an epoch.
)


def set_aside(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The data with `fraction` of its training examples as its validation split; 0: as it is.

    Both splits keep the examples in their order, and number them from 0.

    Raises DataError where there is a validation split already, or no example to spare.
    """
    if not fraction:
        return dataset
    if dataset.validation:
        raise DataError(
            "`data.validation_fraction` must be 0 where `get_data` returns a validation source. "
            f"Received: {fraction}; leave out one of the two."
        )
    total = len(dataset.train)
    count = max(1, round(fraction * total))
    if count >= total:
        raise DataError(
            f"`data.validation_fraction` must leave some of the {total} training examples to train on. "
            f"Received: {fraction}; lower it."
        )
    order = SampleOrder(total, 1, seed + _STREAM).examples(_EPOCH, np.arange(total))
    return dataclasses.replace(
        dataset,
        train=dataset.train.take(np.sort(order[count:])),
        validation=dataset.train.take(np.sort(order[:count])),
        description=f"{dataset.description}; {count} of those to train on are set aside for validation",
    )
