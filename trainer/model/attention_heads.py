"""How is multi-head attention computed whose heads are cut into model blocks?

A block has the projections of its heads to queries, keys and values, computes their attention from the
whole inputs, and projects what they found to its share of the output. The shares are added, and so are
the gradients of the inputs, in one exchange each. Keras's own code computes a block, as a layer with
fewer heads.
"""

import contextvars
import functools
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras.src import backend

from trainer.model.model_blocks import ModelBlocks, not_plain, replace_call

TYPE, KIND = keras.layers.MultiHeadAttention, "heads"
_SIGNATURE = inspect.signature(keras.layers.MultiHeadAttention.call)


class _Block(NamedTuple):
    """What is known while a block is traced."""

    place: int  # Among this part's.
    weights: dict[int, list]  # The own blocks of each cut weight, by the variable's id.
    seed: Any  # Of dropout; None: nothing is dropped.


_BLOCK: contextvars.ContextVar[_Block | None] = contextvars.ContextVar("a block", default=None)


def unfit(layer: keras.layers.MultiHeadAttention, number: int, calls: Sequence[Any]) -> str:
    """Why this number of blocks cannot cut it; "" where it can. `calls`: those in the model's graphs."""
    if type(layer) is not TYPE:
        return f"a {type(layer).__name__} may compute something of its own"
    if not layer.built:
        return "it is not called"
    regularizers = layer._kernel_regularizer, layer._bias_regularizer, layer._activity_regularizer
    constraints = layer._kernel_constraint, layer._bias_constraint
    holders = [*projections(layer), layer._output_dense]
    if why := not_plain(layer, regularizers, constraints, holders, "_kernel"):
        return why
    if layer._flash_attention:
        return "it uses flash attention"
    if any(len(call.output_tensors) > 1 for call in calls):
        return "it returns the scores of all heads"
    heads = layer.num_heads
    return f"{number} blocks do not divide its {heads} heads" if heads % number else ""


def projections(layer: keras.layers.MultiHeadAttention) -> list[keras.layers.EinsumDense]:
    """Those from the inputs to the heads."""
    found = [layer._query_dense, layer._key_dense, layer._value_dense]
    return [*found, layer._gate_dense] if layer._use_gate else found


def cut(blocks: ModelBlocks, layer: keras.layers.MultiHeadAttention) -> None:
    """Cuts a layer whose heads the number of blocks divides."""
    for dense in projections(layer):
        blocks.cut(dense._kernel, 1)
        blocks.cut(dense.bias, 0)
        replace_call(dense, _projected)
    blocks.cut(layer._output_dense._kernel, 0)
    replace_call(layer._output_dense, _projected)
    replace_call(layer._dropout_layer, functools.partial(_dropped, blocks))
    replace_call(layer, functools.partial(_attended, blocks))


def _attended(blocks: ModelBlocks, layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The whole output."""
    blocks.check_call(layer)
    given = _SIGNATURE.bind(layer, *args, **kwargs).arguments
    del given["self"]
    query, value = given.pop("query"), given.pop("value")
    key = value if given.get("key") is None else given["key"]
    given.pop("key", None)
    if given.get("return_attention_scores"):
        blocks.refuse(layer, "returns the scores of all heads")
    mask = given.get("attention_mask")
    if mask is not None and len(mask.shape) > len(query.shape):
        blocks.refuse(layer, "has a mask for each head")
    # As the layer itself does: masks are its own to handle.
    query_mask = backend.get_keras_mask(query)
    for one in (query, value, key):
        backend.set_keras_mask(one, None)
    weights, rate = _weights(blocks, layer), layer._dropout_layer.rate
    seed = layer._dropout_layer.seed_generator.next() if given.get("training") and rate else None
    shares = []
    for place, (of_query, of_value, of_key) in enumerate(blocks.copies([query, value, key])):
        backend.set_keras_mask(of_query, query_mask)
        token = _BLOCK.set(_Block(place, weights, seed))
        try:
            shares.append(type(layer).call(layer, of_query, of_value, of_key, **given))
        finally:
            _BLOCK.reset(token)
    outputs = blocks.added(shares)
    if layer._output_dense.bias is not None:
        outputs = keras.ops.add(outputs, layer._output_dense.bias)
    if query_mask is not None:
        backend.set_keras_mask(outputs, query_mask)
    return outputs


def _weights(blocks: ModelBlocks, layer: Any) -> dict[int, list]:
    variables = [layer._output_dense._kernel]
    for dense in projections(layer):
        variables += [dense._kernel] if dense.bias is None else [dense._kernel, dense.bias]
    return {id(one): blocks.values(one, layer) for one in variables}


def _projected(dense: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Of the heads of a block. The bias of the output is added to the sum of the shares."""
    block = _BLOCK.get()
    if block is None:  # Of another layer, which may not read these weights.
        return type(dense).call(dense, inputs, *args, **kwargs)
    found = keras.ops.einsum(dense.equation, inputs, block.weights[id(dense._kernel)][block.place])
    if id(dense.bias) in block.weights:
        found = keras.ops.add(found, block.weights[id(dense.bias)][block.place])
    return found if dense.activation is None else dense.activation(found)


def _dropped(blocks: ModelBlocks, layer: Any, inputs: Any, training: Any = False) -> Any:
    block = _BLOCK.get()
    if block is None:
        return type(layer).call(layer, inputs, training=training)
    if block.seed is None:
        return inputs
    return blocks.dropped(inputs, layer.rate, block.seed, block.place)
