"""What is the loss of each example, and which metric is reported beside it?

A classification has softmax cross-entropy and accuracy; a regression squared and absolute error.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras


class Loss(NamedTuple):
    """`per_example(targets, outputs)` returns each example's loss and metric, two float32 [b]."""

    per_example: Callable
    metric_name: str


def _classification(targets, logits):
    """Softmax cross-entropy in nats, and 1 where the largest logit is the class."""
    losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    return losses, keras.metrics.sparse_categorical_accuracy(targets, logits)


def _regression(targets, outputs):
    """Squared and absolute error, each the mean over the outputs."""
    return (
        keras.losses.mean_squared_error(targets, outputs),
        keras.losses.mean_absolute_error(targets, outputs),
    )


CLASSIFICATION = Loss(_classification, "accuracy")
REGRESSION = Loss(_regression, "mean_absolute_error")
