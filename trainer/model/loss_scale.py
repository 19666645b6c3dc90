"""How are gradients in float16 kept from becoming zero?

The loss is multiplied by a scale, and each block's gradients are divided by it. `LossScale` keeps the
scale and a count of steps in the layer state, so that a checkpoint has them. Where a batch's gradient is
not finite, the step changes no weight and the scale is halved; after `growth_steps` steps without that it
is doubled. All replicas have the same summed gradient, so all decide alike.

The rule is that of Keras's LossScaleOptimizer (Micikevicius et al., "Mixed Precision Training", 2018).
Keras scales the mean loss of a batch, and here blocks have sums, which need a smaller scale by about the
size of the batch: the next power of two, by which a division is exact.
"""

import math

import keras
import tensorflow as tf

INITIAL, GROWTH_STEPS = 2.0**15, 2000  # Those of Keras.
# With a scale below this the gradients are not finite because the batch is not, or the weights are not.
_LEAST = 2.0**-20


class LossScale:
    """A scale of the mean loss.

    Args:
      initial: the first scale.
      growth_steps: steps until it is doubled; 0: it never changes, and no step is skipped.
      batch_size: examples in a batch.
    """

    def __init__(self, initial: float, growth_steps: int, batch_size: int):
        self.settings = {"initial": initial, "growth_steps": growth_steps}
        self._growth_steps = growth_steps
        self._per_example = 2.0 ** -math.ceil(math.log2(batch_size))
        with tf.init_scope(), tf.device("CPU:0"):
            scale = keras.Variable(initial, dtype="float32", trainable=False, name="loss_scale")
            steps = keras.Variable(0, dtype="int32", trainable=False, name="loss_scale_steps")
        self.variables = [scale, steps]  # The last ones of the layer state.

    def factor(self, layer_state: list):
        """float32: of the summed loss."""
        return layer_state[-2] * self._per_example

    def kept(self, gradients: list, before: list, after: list) -> list:
        """`after`, or `before` where a gradient is not finite. Both are nests of one structure."""
        if not self._growth_steps:
            return after
        finite = _are_finite(gradients)
        return tf.nest.map_structure(lambda old, new: tf.where(finite, new, old), before, after)

    def advance(self, layer_state: list, gradients: list) -> list:
        """The layer state with the scale after a step."""
        if not self._growth_steps:
            return layer_state
        *others, scale, steps = layer_state
        finite = _are_finite(gradients)
        grows = finite & (steps >= self._growth_steps - 1)
        # NaN ends the run, which names the step and its examples.
        halved = tf.where(scale < _LEAST, float("nan"), 0.5 * scale)
        scale = tf.where(grows, 2.0 * scale, tf.where(finite, scale, halved))
        return [*others, scale, tf.where(finite & ~grows, steps + 1, 0)]


def of(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None, batch_size: int
) -> LossScale | None:
    """The scale that an optimizer asks for, or a model in float16 needs; None where there is neither."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return LossScale(optimizer.initial_scale, optimizer.dynamic_growth_steps, batch_size)
    if optimizer is not None and optimizer.loss_scale_factor:
        return LossScale(optimizer.loss_scale_factor, 0, batch_size)
    kinds = {getattr(layer, "compute_dtype", "") for layer in model._flatten_layers()}
    return LossScale(INITIAL, GROWTH_STEPS, batch_size) if "float16" in kinds else None


def _are_finite(gradients: list):
    each = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
    return tf.reduce_all(tf.stack(each))
