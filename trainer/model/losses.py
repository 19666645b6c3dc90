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
          example_weights: float32 [b], factors of the losses; 0 for padding.
        """

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """The mean loss and the metrics of float64 [num_sums]; NaN where there were no examples."""

    def output_kinds(self) -> dict[str, str]:
        """What each output that has a loss is, by name: LOGITS, BINARY_LOGITS or VALUES."""


LOGITS, BINARY_LOGITS, VALUES = "logits", "binary_logits", "values"


def penalty(penalties: Sequence[Any], count: Any) -> Any:
    """What layers and regularizers add to the summed loss of `count` examples; there is one at least."""
    return count * tf.add_n([tf.cast(one, tf.float32) for one in penalties])


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
        is_example = examples_of(example_weights)
        total, count = tf.reduce_sum(losses * example_weights), tf.reduce_sum(is_example)
        if penalties:  # Once for each example, so that they count once in a batch's mean.
            total += penalty(penalties, count)
        return tf.stack([total, tf.reduce_sum(metrics * is_example), count])

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


def examples_of(example_weights: Any) -> Any:
    """float32 [b]: 1 for each example, whatever its weight, and 0 for padding."""
    return tf.cast(example_weights > 0, tf.float32)


def classification(smoothing: float = 0.0, focal_gamma: float = 0.0) -> Loss:
    """Classification with the options of Keras's losses.

    Args:
      smoothing: the share of each label that is spread over all classes.
      focal_gamma: that of Keras's CategoricalFocalCrossentropy with an `alpha` of 1 (Lin et al., "Focal
        Loss for Dense Object Detection", 2017).
    """

    def per_example(targets, logits):
        losses, accuracy = _classification(targets, logits)
        terms = -tf.nn.log_softmax(logits)
        if focal_gamma:
            # As in Keras not 0, where the derivative of a power below 1 is infinite.
            others = tf.maximum(-tf.math.expm1(-terms), keras.config.epsilon())
            terms *= tf.pow(others, focal_gamma)
            labels = tf.one_hot(tf.reshape(targets, [-1]), tf.shape(logits)[-1])
            losses = tf.reduce_sum(labels * terms, axis=-1)
        if smoothing:
            losses = (1.0 - smoothing) * losses + smoothing * tf.reduce_mean(terms, axis=-1)
        return losses, accuracy

    return Loss(per_example, "accuracy", LOGITS) if smoothing or focal_gamma else CLASSIFICATION


CLASSIFICATION = Loss(_classification, "accuracy", LOGITS)
REGRESSION = Loss(_regression, "mean_absolute_error", VALUES)
