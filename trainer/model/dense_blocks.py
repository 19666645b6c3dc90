"""How is a pair of dense layers computed whose hidden units are cut into model blocks?

The first layer's kernel and bias are cut by columns, the second's kernel by rows. A block computes its
own hidden units from the whole input, and its own share of the second layer's output, without the others.
The shares are added, and so are the gradients of the input (`model_blocks.py`).

The cut is that of Shoeybi et al., "Megatron-LM" (2019), section 3, with a fixed number of blocks in place
of the number of devices. Each block is a matrix product of one shape: a product of several blocks at once
could add in another order.
"""

import functools
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.model.model_blocks import ModelBlocks, replace_call


class Pair(NamedTuple):
    """Two dense layers, the first cut by columns, the second by rows, and the layers between them."""

    column: keras.layers.Dense
    between: tuple[keras.layers.Layer, ...]
    row: keras.layers.Dense


def cut(blocks: ModelBlocks, pair: Pair) -> None:
    """Cuts a pair whose hidden units the number of blocks divides."""
    blocks.cut(pair.column._kernel, 1)
    blocks.cut(pair.column.bias, 0)
    blocks.cut(pair.row._kernel, 0)
    replace_call(pair.column, functools.partial(_column, blocks))
    for layer in pair.between:
        of_blocks = _dropout if is_dropout(layer) else _elementwise
        replace_call(layer, functools.partial(of_blocks, blocks))
    replace_call(pair.row, functools.partial(_row, blocks))
    pair.row.input_spec = None  # It gets the hidden units of its own blocks only.


def is_dropout(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.Dropout


def _column(blocks: ModelBlocks, layer: Any, inputs: Any, training: Any = None) -> Any:
    """The hidden units of this part, [..., units of its blocks]."""
    kernels, copies = blocks.values(layer._kernel, layer), blocks.copies([inputs])
    hidden = [keras.ops.matmul(*one, kernel) for one, kernel in zip(copies, kernels, strict=True)]
    if layer.bias is not None:
        biases = blocks.values(layer.bias, layer)
        hidden = [keras.ops.add(one, bias) for one, bias in zip(hidden, biases, strict=True)]
    if layer.activation is not None:
        hidden = [layer.activation(one) for one in hidden]
    return tf.concat(hidden, -1)


def _row(blocks: ModelBlocks, layer: Any, inputs: Any, training: Any = None) -> Any:
    """The whole output."""
    kernels = blocks.values(layer._kernel, layer)
    hidden = tf.split(inputs, len(kernels), -1)
    shares = [keras.ops.matmul(one, kernel) for one, kernel in zip(hidden, kernels, strict=True)]
    outputs = blocks.added(shares)
    if layer.bias is not None:
        outputs = keras.ops.add(outputs, layer.bias)
    return outputs if layer.activation is None else layer.activation(outputs)


def _elementwise(blocks: ModelBlocks, layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    # Block by block, as the last numbers of an array may be computed by other instructions.
    call = functools.partial(type(layer).call, layer)
    hidden = tf.split(inputs, len(blocks.own), -1)
    return tf.concat([call(one, *args, **kwargs) for one in hidden], -1)


def _dropout(blocks: ModelBlocks, layer: Any, inputs: Any, training: Any = False) -> Any:
    if not training or not layer.rate:
        return inputs
    seed, hidden = layer.seed_generator.next(), tf.split(inputs, len(blocks.own), -1)
    return tf.concat(
        [blocks.dropped(one, layer.rate, seed, index) for index, one in enumerate(hidden)], -1
    )
