"""With which mean and variance does batch normalization normalize?

With those of its block, as each layer computes them; or with those of the whole batch: `share` makes a
model's layers add their sums over all blocks, and `added_by` says how they are added. Two sums are needed
going forward, of the values and of the squares of their distances from the mean, and one going backward.
Padding is not in them.

A gradient also flows through the statistics, as in Ioffe and Szegedy, "Batch Normalization" (2015), with
the sums over the whole batch in place of those over a block.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.config.fields import ConfigError


class _Block(NamedTuple):
    """What a block's layers need: the sum over all blocks, and whether it has examples."""

    add: Callable[[Any], Any]
    is_used: Any


_BLOCK: contextvars.ContextVar[_Block] = contextvars.ContextVar("the block that is traced")


def share(model: keras.Model) -> bool:
    """Makes the layers use the whole batch's statistics; false where the model has no such layer.

    Raises ConfigError where a layer computes its statistics in a way of its own.
    """
    layers = _layers(model)
    for layer in layers:
        if type(layer)._moments is not keras.layers.BatchNormalization._moments:
            raise ConfigError(
                "`model.batch_norm` must be block for a layer with statistics of its own. Received: "
                f"'global' for {layer.name!r}, a {type(layer).__name__}; set it to block."
            )
        layer._moments = functools.partial(_moments, layer)
    return bool(layers)


def check_blocks(model: keras.Model) -> None:
    """Raises ConfigError where a layer asks for statistics that no block has alone."""
    for layer in _layers(model):
        if layer.synchronized:
            raise ConfigError(
                "`model.batch_norm` must be global for a layer with synchronized=True. Received: "
                f"'block' for {layer.name!r}; set it to global, or leave `synchronized` out."
            )


@contextlib.contextmanager
def added_by(add: Callable[[Any], Any], count: Any) -> Iterator[None]:
    """Inside it a block is traced, in this thread. `count`: the number of its examples."""
    token = _BLOCK.set(_Block(add, count > 0))
    try:
        yield
    finally:
        _BLOCK.reset(token)


def _layers(model: keras.Model) -> list:
    kind = keras.layers.BatchNormalization
    return [layer for layer in model._flatten_layers() if isinstance(layer, kind)]


def _moments(layer: Any, inputs: Any, mask: Any) -> tuple[Any, Any]:
    """Mean and variance [channels] of the whole batch's `inputs`, in place of the layer's `_moments`."""
    block = _BLOCK.get(None)
    if block is None:  # In evaluation, of a layer that is always called as in training.
        return type(layer)._moments(layer, inputs, mask)
    axes = layer._reduction_axes
    shape = [1 if axis in axes else -1 for axis in range(len(inputs.shape))]
    is_used = tf.fill(tf.shape(inputs), block.is_used)
    if mask is not None:
        is_used &= tf.cast(mask, tf.bool)[..., tf.newaxis]

    def total(values: Any) -> Any:
        # What other blocks have traced is no part of this block's gradient.
        added = block.add(tf.stop_gradient(tf.cast(values, tf.float32)))
        return tf.cast(tf.stop_gradient(added), inputs.dtype)

    @tf.custom_gradient
    def moments(x):
        own = [tf.where(is_used, x, 0), tf.cast(is_used, x.dtype)]
        sums, counts = tf.split(total(tf.concat([tf.reduce_sum(one, axes) for one in own], 0)), 2)
        counts = tf.maximum(counts, 1.0)
        mean = sums / counts
        distances = tf.where(is_used, x - tf.reshape(mean, shape), 0)
        variance = total(tf.reduce_sum(tf.square(distances), axes)) / counts

        def gradient(of_mean, of_variance):
            both = tf.split(total(tf.concat([of_mean, of_variance], 0)), 2)
            by_mean, by_variance = (tf.reshape(one / counts, shape) for one in both)
            return tf.where(is_used, by_mean + 2.0 * by_variance * distances, 0)

        return (mean, variance), gradient

    return moments(inputs)
