"""What is the loss of each example, and which metric is reported beside it?

A classification has softmax cross-entropy and accuracy; a regression squared and absolute error.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf


class Objective(Protocol):
    """What a program minimises and reports, as sums over a batch."""

    @property
    def num_sums(self) -> int:
        """The length of the sums."""

    def sums(
        self, targets: Any, outputs: Any, penalties: Sequence[Any], example_weights: Any
    ) -> Any:
        """float32 [num_sums]: first the sum of the losses, last the number of examples.

        Args:
          targets, outputs: of b examples.
          penalties: scalars that layers and regularizers add to the mean loss.
          example_weights: float32 [b]; 0 for padding.
        """

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """The mean loss and the metrics of float64 [num_sums]; NaN where there were no examples."""

    def output_kinds(self) -> dict[str, str]:
        """What each output that has a loss is, by name: LOGITS, BINARY_LOGITS or VALUES."""


LOGITS, BINARY_LOGITS, VALUES = "logits", "binary_logits", "values"


class Loss(NamedTuple):
    """An objective with one metric, which is a mean over examples too.

    `per_example(targets, outputs)` returns each example's loss and metric, two float32 [b].
    """

    per_example: Callable
    metric_name: str
    kind: str
    num_sums: int = 3  # The losses, the metric, and the number of examples.

    def sums(self, targets, outputs, penalties, example_weights):
        losses, metrics = self.per_example(targets, outputs)
        total, count = tf.reduce_sum(losses * example_weights), tf.reduce_sum(example_weights)
        if penalties:  # Once for each example, so that they count once in a batch's mean.
            total += count * tf.add_n([tf.cast(one, tf.float32) for one in penalties])
        return tf.stack([total, tf.reduce_sum(metrics * example_weights), count])

    def means(self, sums):
        assert sums.shape == (self.num_sums,)
        count = sums[2] or np.nan
        return {"loss": float(sums[0] / count), self.metric_name: float(sums[1] / count)}

    def output_kinds(self):
        return {"": self.kind}


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


def smoothed(share: float) -> Loss:
    """Classification whose labels have this share spread over all classes, as in Keras's losses."""

    def per_example(targets, logits):
        losses, accuracy = _classification(targets, logits)
        uniform = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        return (1.0 - share) * losses + share * uniform, accuracy

    return Loss(per_example, "accuracy", LOGITS) if share else CLASSIFICATION


CLASSIFICATION = Loss(_classification, "accuracy", LOGITS)
REGRESSION = Loss(_regression, "mean_absolute_error", VALUES)
