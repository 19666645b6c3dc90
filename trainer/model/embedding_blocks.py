"""How is an embedding computed whose rows are cut into model blocks?

A block holds a range of the vocabulary. Its share of the output is the rows that it has, and zeros in
place of the others, and the shares are added. So each number of the output is one number of the table
plus zeros, which is exact. A row's gradient goes to the block that has it; nothing is exchanged going
backward.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.model.model_blocks import ModelBlocks, not_plain, replace_call

TYPE, KIND = keras.layers.Embedding, "rows"


def unfit(layer: keras.layers.Embedding, number: int, calls: Sequence[Any]) -> str:
    """Why this number of blocks cannot cut it; "" where it can."""
    if type(layer) is not TYPE:
        return f"a {type(layer).__name__} may compute something of its own"
    if not layer.built:
        return "it is not called"
    regularizers = layer.embeddings_regularizer, layer.activity_regularizer
    if why := not_plain(layer, regularizers, [layer.embeddings_constraint], [layer], "_embeddings"):
        return why
    rows = layer.input_dim
    return f"{number} blocks do not divide its {rows:,} rows" if rows % number else ""


def cut(blocks: ModelBlocks, layer: keras.layers.Embedding) -> None:
    """Cuts an embedding whose `input_dim` the number of blocks divides."""
    blocks.cut(layer._embeddings, 0)
    replace_call(layer, functools.partial(_rows, blocks))


def _rows(blocks: ModelBlocks, layer: Any, inputs: Any) -> Any:
    blocks.check_call(layer)
    if not isinstance(inputs, tf.Tensor):
        blocks.refuse(layer, f"reads a {type(inputs).__name__}, not a tensor")
    indices = inputs if inputs.dtype in (tf.int32, tf.int64) else tf.cast(inputs, tf.int32)
    indices = _checked(layer, indices)
    size = layer.input_dim // blocks.number

    def within(span: range) -> Any:
        return (indices >= span.start * size) & (indices < span.stop * size)

    # One look-up whatever the blocks: a row's gradients are added in the order of the indices.
    own = tf.where(within(blocks.own), indices - blocks.own.start * size, 0)
    rows = tf.cast(tf.gather(blocks.held(layer._embeddings), own), layer.compute_dtype)
    # All blocks below one sum at once, as to add zeros is exact. But -0.0 + 0.0 is 0.0, so it always is.
    zero = tf.zeros([], rows.dtype)
    return blocks.added_sums(
        [tf.where(within(span)[..., tf.newaxis], rows, zero) + zero for span in blocks.own_spans]
    )


def _checked(layer: Any, indices: Any) -> Any:
    """The indices as the layer reads them: a negative one counts from the end. One beyond is an error."""
    last = layer.input_dim - 1
    indices = tf.where(indices < 0, indices + layer.input_dim, indices)
    is_row = (indices >= 0) & (indices <= last)
    said = (
        f"an index is none of the rows 0 to {last} of {layer.name}; the least and the largest are"
    )
    found = [tf.reduce_min(indices), tf.reduce_max(indices)]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_row), [said, *found])]):
        return tf.identity(indices)
