"""How large is each example's own gradient, without computing it?

By ghost norms (Goodfellow, "Efficient per-example gradient computations", 2015): the gradient of a dense
layer's kernel for one example is the product of the layer's input and of the gradient of its output, and
so is its norm. `watched` records both for each layer while the model is called once for the whole block.
What holds for dense layers on one vector per example holds for a sequence of them (Li et al., "Large
language models can be strong differentially private learners", 2022), for the patches that a convolution
reads, and for the rows that an embedding looks up. A model with weights in other layers, or with a layer
that is called twice, has no such norms (`covers`); its examples are computed one by one.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import keras
import tensorflow as tf


class Call(NamedTuple):
    """One call of a layer: its input, and its output before the activation, arrays [b, ...]."""

    layer: keras.layers.Layer
    inputs: Any
    output: Any


def covers(model: keras.Model) -> bool:
    """Whether all weights are in layers that have such norms, if each is called once."""
    covered = [
        id(variable)
        for layer in model._flatten_layers(include_self=False)
        if _has_norms(layer)
        for variable in layer.trainable_variables
    ]
    return sorted(covered) == sorted(map(id, model.trainable_variables))


@contextlib.contextmanager
def watched(model: keras.Model) -> Iterator[list[Call]]:
    """Inside it, the calls of the layers that have weights to train are added to the list."""
    calls: list[Call] = []
    layers = {id(one) for one in model._flatten_layers() if _has_norms(one)}
    with contextlib.ExitStack() as stack:
        for kind in _SQUARED_NORMS:
            call = _watching(kind.call, layers, calls)
            stack.enter_context(mock.patch.object(kind, "call", call))
        yield calls


def are_single(calls: list[Call]) -> bool:
    """Whether each layer was called once: the norms of two calls do not add up to that of their sum."""
    return len({id(call.layer) for call in calls}) == len(calls)


def squared_norms(calls: list[Call], output_gradients: list) -> Any:
    """float32 [b]: of each example's gradient over all weights of these layers.

    Args:
      calls: one for each layer.
      output_gradients: of the sum of the examples' losses, with respect to each call's `output`.
    """
    norms = []
    for call, gradient in zip(calls, output_gradients, strict=True):
        if gradient is not None:  # The loss does not depend on the layer.
            squared_norm = _SQUARED_NORMS[type(call.layer)]
            norms.append(squared_norm(call, tf.convert_to_tensor(gradient)))
    return tf.add_n(norms)


def _watching(original: Callable, layers: set[int], calls: list[Call]) -> Callable:
    def call(layer, inputs, *args, **kwargs):
        if id(layer) not in layers:
            return original(layer, inputs, *args, **kwargs)
        if isinstance(layer, keras.layers.Embedding):
            output = original(layer, inputs, *args, **kwargs)
            calls.append(Call(layer, inputs, output))
            return output
        activation = layer.activation

        def activate(output):
            calls.append(Call(layer, inputs, output))
            return activation(output) if activation else output

        # Not by Keras's own `__setattr__`, which would track it.
        object.__setattr__(layer, "activation", activate)
        try:
            return original(layer, inputs, *args, **kwargs)
        finally:
            object.__setattr__(layer, "activation", activation)

    return call


def _has_norms(layer: keras.layers.Layer) -> bool:
    if not layer.trainable_variables or getattr(layer, "lora_enabled", False):
        return False
    if type(layer) is keras.layers.Conv2D:
        return layer.groups == 1 and layer.data_format == "channels_last"
    return type(layer) in _SQUARED_NORMS


def _of_dense(call: Call, gradient: Any) -> Any:
    return _of_product(call.layer, _sequence(call.inputs), _sequence(gradient))


def _of_convolution(call: Call, gradient: Any) -> Any:
    layer = call.layer
    patches = tf.image.extract_patches(
        call.inputs,
        sizes=[1, *layer.kernel_size, 1],
        strides=[1, *layer.strides, 1],
        rates=[1, *layer.dilation_rate, 1],
        padding=layer.padding.upper(),
    )
    return _of_product(layer, _sequence(patches), _sequence(gradient))


def _of_embedding(call: Call, gradient: Any) -> Any:
    """The rows of equal indices are one row of the gradient, so their gradients are added."""
    indices = tf.reshape(call.inputs, [tf.shape(call.inputs)[0], -1])
    gradient = tf.reshape(gradient, [*tf.unstack(tf.shape(indices)), gradient.shape[-1]])
    are_equal = tf.cast(indices[:, :, tf.newaxis] == indices[:, tf.newaxis, :], tf.float32)
    return tf.einsum("bst,bsi,bti->b", are_equal, gradient, gradient)


def _of_product(layer: Any, inputs: Any, gradient: Any) -> Any:
    """Of a kernel's gradient sum_t inputs[t] x gradient[t], and a bias's: [b, t, i] and [b, t, o]."""
    norms = tf.zeros([tf.shape(gradient)[0]])
    if layer.kernel.trainable:
        if inputs.shape[1] == 1:
            norms += tf.reduce_sum(inputs**2, [1, 2]) * tf.reduce_sum(gradient**2, [1, 2])
        else:
            norms += tf.reduce_sum(tf.matmul(inputs, gradient, transpose_a=True) ** 2, [1, 2])
    if layer.bias is not None and layer.bias.trainable:
        norms += tf.reduce_sum(tf.reduce_sum(gradient, 1) ** 2, 1)
    return norms


def _sequence(array: Any) -> Any:
    """An array [b, ..., n] as [b, t, n]."""
    shape = array.shape
    steps = 1
    for size in shape[1:-1]:
        steps = -1 if size is None or steps < 0 else steps * size
    return tf.reshape(tf.cast(array, tf.float32), [tf.shape(array)[0], steps, shape[-1]])


_SQUARED_NORMS: dict[type[keras.layers.Layer], Callable[[Call, Any], Any]] = {
    keras.layers.Dense: _of_dense,
    keras.layers.Conv2D: _of_convolution,
    keras.layers.Embedding: _of_embedding,
}
