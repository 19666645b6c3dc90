"""How much does each training example count, where classes are not equally frequent?

`weighted` gives the training split its weights: those of the source's column times those of the classes.
They multiply the training loss, whose mean stays that over the number of examples, as in Keras.
Evaluations do not use them.
"""

import dataclasses

import numpy as np

from trainer.config import balance_rules
from trainer.config.balance_rules import BALANCED
from trainer.config.fields import short_json
from trainer.data.dataset import DataError, Dataset, Split

# Of an example whose weight is 0: a weight of 0 says that a place of a batch has no example.
_SMALLEST = np.float32(2.0**-126)


def weighted(dataset: Dataset, class_weights: str) -> Dataset:
    """The data with weights for its training examples, and for no others. Raises DataError."""
    weights = dataset.train.weights
    weights = None if weights is None else np.asarray(weights, np.float32)
    if class_weights:
        found = class_labels(dataset, "data.class_weights")
        of_class = _factors(dataset, class_weights, found)[found]
        weights = of_class if weights is None else weights * of_class
    description = dataset.description
    if weights is not None:
        description += f"; weights {weights.min():.3g} to {weights.max():.3g}"
        weights = np.maximum(weights, _SMALLEST)
    validation = dataset.validation and dataclasses.replace(dataset.validation, weights=None)
    return dataclasses.replace(
        dataset,
        train=dataclasses.replace(dataset.train, weights=weights),
        test=dataclasses.replace(dataset.test, weights=None),
        validation=validation,
        description=description,
    )


def labels(dataset: Dataset, field: str) -> np.ndarray:
    """As `class_labels`. Raises DataError where a class has no example to train on, too."""
    found = class_labels(dataset, field)
    _counts(dataset, field, found)
    return found


def class_labels(dataset: Dataset, field: str) -> np.ndarray:
    """int [n]: the classes of the training examples. Raises DataError where these have none."""
    targets = dataset.train.targets
    if not isinstance(targets, dict):
        array = np.asarray(targets)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1 and array.dtype.kind in "iub" and array.min() >= 0:
            return array.astype(np.int32, copy=False)
        if array.ndim == 2 and ((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all():
            return array.argmax(axis=1).astype(np.int32)
    raise DataError(
        f"`{field}` must be left out where the examples have no single class each. Received: "
        f"{_kind(dataset.train)} as targets of {dataset.name}; leave it out."
    )


def _factors(dataset: Dataset, class_weights: str, found: np.ndarray) -> np.ndarray:
    """float32 [classes]: the weight of each class. `found`: the class of each example."""
    field = "data.class_weights"
    if class_weights == BALANCED:
        counts = _counts(dataset, field, found)
        return (len(found) / (len(counts) * counts)).astype(np.float32)
    num_classes = _num_classes(dataset, found)
    names = list(dataset.class_names) or [str(index) for index in range(num_classes)]
    factors = np.ones(num_classes, np.float32)
    for name, weight in balance_rules.class_weights(class_weights).items():
        if name not in names:
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise DataError(
                f"`{field}` must name classes of {dataset.name}, which are {shown}. Received: "
                f"{short_json(name)}; correct it."
            )
        factors[names.index(name)] = weight
    return factors


def _counts(dataset: Dataset, field: str, found: np.ndarray) -> np.ndarray:
    """int [classes]: the training examples of each. Raises DataError where there are none of one."""
    counts = np.bincount(found, minlength=_num_classes(dataset, found))
    if not counts.all():
        empty = int(counts.argmin())
        name = dataset.class_names[empty] if dataset.class_names else empty
        raise DataError(
            f"`{field}` must not be balanced unless each class has an example to train on. Received: "
            f"none of class {name} in {dataset.name}; add some, or leave it out."
        )
    return counts


def _num_classes(dataset: Dataset, found: np.ndarray) -> int:
    return dataset.num_classes or int(found.max()) + 1


def _kind(split: Split) -> str:
    if isinstance(split.targets, dict):
        return f"arrays {', '.join(split.targets)}"
    return f"{split.targets.dtype} {list(split.targets.shape[1:])} each"
