"""What is lost on each example?"""

import keras


def classification(targets, logits):
    """Per example: softmax cross-entropy in nats, and 1 where the largest logit is the class."""
    losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    return losses, keras.metrics.sparse_categorical_accuracy(targets, logits)


def regression(targets, outputs):
    """Per example: squared and absolute error, each the mean over the outputs."""
    return (
        keras.losses.mean_squared_error(targets, outputs),
        keras.losses.mean_absolute_error(targets, outputs),
    )
