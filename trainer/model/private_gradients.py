"""How is one example kept from being read off the weights?

By DP-SGD (Abadi et al., "Deep learning with differential privacy", 2016): each example's gradient is cut
to the norm C (`privacy.clip_norm`), so that an example changes the sum of a batch by at most C, and the
sum gets normal noise of the standard deviation z * C (`privacy.noise_multiplier`). The mean is the sum
over the size of a full batch, as the number of examples in a batch must not show either.

The noise belongs to a step's first block (`reduction_blocks.py`), and follows from the seed and the step
by Philox, a counter-based generator. So the weights have the same bits on any cluster. With the seed
anyone can subtract the noise: SECURITY.md says what that means.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from strategies.keyed_noise import normal
from strategies.runtime import Key
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.model import example_norms
from trainer.model.forward import is_seed
from trainer.model.losses import penalty

_PURPOSE = 0x6E6F697365  # Sets the noise apart from other numbers that follow from the seed.


class Found(NamedTuple):
    """Of a block: its gradients, the layer state after it, and its sums."""

    gradients: list
    layer_state: list
    sums: Any


class PrivateGradients:
    """The gradients of a block, of which each example's are clipped.

    Args:
      clip_norm: C, the largest norm of an example's gradient over all weights.
      noise_multiplier: z; the noise has the standard deviation z * C in each coordinate.
      batch_size: examples in a full batch of all replicas.
      seed: of the noise.
    """

    def __init__(self, clip_norm: float, noise_multiplier: float, batch_size: int, seed: int):
        self._clip_norm, self._noise = clip_norm, noise_multiplier * clip_norm
        self.batch_size = batch_size
        self._seed = seed

    def found(
        self, program: Any, weights: list, layer_state: list, block: tuple, key: Key
    ) -> Found:
        """`program`: has `forward` and `objective`. `block`: features, targets and example weights."""
        if example_norms.covers(program.model):
            found = self._by_norms(program, weights, layer_state, block, key)
            if found:
                return self._with_noise(found, key)
        return self._with_noise(self._one_by_one(program, weights, layer_state, block, key), key)

    def _by_norms(self, program, weights, layer_state, block, key) -> Found | None:
        features, targets, example_weights = block
        with (
            tf.GradientTape(persistent=True) as tape,
            example_norms.watched(program.model) as calls,
        ):
            tape.watch(weights)
            outputs, after, penalties = program.forward.train(weights, layer_state, features, key)
            sums = program.objective.sums(targets, outputs, penalties, example_weights)
            losses = program.objective.sums(targets, outputs, (), example_weights)[0]
            if not example_norms.are_single(calls):
                return None
            with tape.stop_recording():
                outgoing = tape.gradient(losses, [call.output for call in calls])
                norms = tf.sqrt(example_norms.squared_norms(calls, outgoing))
                factors = example_weights * self._factors(norms)
            total = program.objective.sums(targets, outputs, (), factors)[0]
            total += _penalty(penalties, sums[-1])
        gradients = tape.gradient(total, weights, unconnected_gradients="zero")
        return Found(gradients, after, sums)

    def _one_by_one(self, program, weights, layer_state, block, key) -> Found:
        """Computes each example for itself, in the memory of one."""
        features, targets, example_weights = block
        count = tf.shape(example_weights)[0]

        def example(index, total):
            one = tf.nest.map_structure(lambda array: array[index, tf.newaxis], block)
            # Its own draws, as in a batch, by a seed of its own.
            state = program.forward.reseeded(layer_state, index)
            with tf.GradientTape() as tape:
                tape.watch(weights)
                outputs, _, _ = program.forward.train(weights, state, one[0], key)
                loss = program.objective.sums(one[1], outputs, (), one[2])[0]
            own = tape.gradient(loss, weights, unconnected_gradients="zero")
            own = [tf.convert_to_tensor(gradient) for gradient in own]
            norm = tf.sqrt(tf.add_n([tf.reduce_sum(gradient**2) for gradient in own]))
            factor = self._factors(norm)
            added = [old + factor * new for old, new in zip(total, own, strict=True)]
            return index + 1, added

        start = [tf.zeros_like(weight) for weight in weights]
        clipped = tf.while_loop(lambda i, _: i < count, example, (tf.constant(0), start))[1]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, after, penalties = program.forward.train(weights, layer_state, features, key)
            sums = program.objective.sums(targets, outputs, penalties, example_weights)
            penalty = _penalty(penalties, sums[-1])
        own = tape.gradient(penalty, weights, unconnected_gradients="zero")
        gradients = [one + more for one, more in zip(clipped, own, strict=True)]
        return Found(gradients, after, sums)

    def _factors(self, norms):
        return tf.minimum(1.0, self._clip_norm / tf.maximum(norms, np.finfo(np.float32).tiny))

    def _with_noise(self, found: Found, key: Key) -> Found:
        if not self._noise:
            return found
        gradients = [tf.convert_to_tensor(gradient) for gradient in found.gradients]

        def noisy():
            return [
                one + self._noise * normal(one.shape, self._seed, _PURPOSE, index, key.step)
                for index, one in enumerate(gradients)
            ]

        is_first = tf.equal(tf.convert_to_tensor(key.share), 0)
        return found._replace(gradients=tf.cond(is_first, noisy, lambda: gradients))


def _penalty(penalties: list, count: Any) -> Any:
    """What layers add to the loss of these examples: it depends on the weights, so it is not clipped."""
    if not penalties:
        return tf.zeros([])
    return penalty(penalties, count)


def of(config: ExperimentConfig) -> PrivateGradients | None:
    """What `privacy` asks for; None: nothing, or of the updates of clients."""
    asked = config.privacy
    if not asked.clip_norm or config.sync.mode == "federated":
        return None
    return PrivateGradients(
        asked.clip_norm, asked.noise_multiplier, config.data.global_batch_size, config.train.seed
    )


def check(model: keras.Model, features: Any) -> None:
    """Raises ConfigError where clipping would not bound what an example changes.

    Args:
      model: which has been called.
      features: of two examples or more, as the model takes them.
    """
    reason = _why_not(model, features)
    if reason:
        raise ConfigError(
            f"`privacy.clip_norm` must be 0 for the model {model.name}, as {reason}. Received: another; "
            "leave it out, or change the model."
        )


def _why_not(model: keras.Model, features: Any) -> str:
    if "float16" in {layer.compute_dtype for layer in model._flatten_layers()}:
        return "float16 loses small gradients, from which the norms are computed"
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    values = [tf.convert_to_tensor(variable) for variable in variables]
    with keras.StatelessScope(
        state_mapping=[*zip(variables, values, strict=True)], collect_losses=True
    ) as scope:
        model(features, training=True)
        num_losses = len(model.losses)
    for variable, value in zip(variables, values, strict=True):
        if scope.get_current_value(variable) is not value and not is_seed(variable):
            return f"{variable.path} keeps statistics of examples; LayerNormalization keeps none"
    if num_losses > sum(variable.regularizer is not None for variable in model.trainable_variables):
        return "a layer adds a loss of its own, which is not clipped"
    first = tf.nest.map_structure(lambda array: array[:1], features)
    whole, alone = model(features, training=False), model(first, training=False)
    for many, one in zip(tf.nest.flatten(whole), tf.nest.flatten(alone), strict=True):
        if not np.allclose(many[:1], one, rtol=1e-3, atol=1e-4):
            return "what it makes of an example depends on the others of the batch"
    return ""
