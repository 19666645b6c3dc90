"""What is computed in one step, as mathematics?

`TrainingProgram` turns a Keras model, a loss and an optimizer into pure functions of tensors, so that a
strategy can call them on any device, inside a compiled loop or before an all-reduce. Nothing here logs,
saves or knows how many replicas there are: losses are summed, and divided by the number of examples once
all replicas' sums are added. Gradients are clipped after that, so clipping gives the same result on any
cluster.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.model import reduction_blocks
from trainer.model.losses import Loss


class TrainingProgram:
    """The step of one experiment. Implements `strategies.runtime.Program`.

    Args:
      model: maps float32 features [b, ...] to outputs [b, num_outputs].
      loss: what is minimised, and the metric that is reported.
      make_optimizer: returns an unbuilt Keras optimizer with a working `stateless_apply`.
      feature_scale: multiplies the features once they are float32.
      global_clipnorm: the largest norm of the mean gradient over all weights; 0: no limit.
      block_size: examples in each block whose gradient is computed separately, see
        `reduction_blocks.py`; 0: the whole batch is one block.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        make_optimizer: Callable[[], keras.optimizers.Optimizer],
        feature_scale: float = 1.0,
        global_clipnorm: float = 0.0,
        block_size: int = 0,
    ):
        self.model = model
        self.metric_name = loss.metric_name
        self._loss = loss
        self._make_optimizer = make_optimizer
        self._feature_scale = feature_scale
        self._global_clipnorm = global_clipnorm
        self._block_size = block_size
        self._optimizers: dict[tuple[int, ...], keras.optimizers.Optimizer] = {}

    @property
    def weight_names(self) -> list[str]:
        """Such as "hidden_1/kernel", in the order of the model's trainable variables."""
        return [variable.path.partition("/")[2] for variable in self.model.trainable_variables]

    def initial_weights(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self.model.trainable_variables]

    def initial_slots(self, weights: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        return [
            [slot.numpy() for slot in self._optimizer(weight.shape).variables] for weight in weights
        ]

    def shapes(self) -> tuple[list, list[list]]:
        """Arrays of zeros, which take no memory, in the shapes of the weights and of their slots."""
        weights = [_zeros(variable) for variable in self.model.trainable_variables]
        return weights, [[_zeros(s) for s in self._optimizer(w.shape).variables] for w in weights]

    def slot_names(self, shape: tuple[int, ...]) -> list[str]:
        """Such as "iteration" and "momentum": what an optimizer stores for one weight."""
        return [slot.path.rpartition("/")[2] for slot in self._optimizer(shape).variables]

    def gradients(self, weights, batch):
        blocks = reduction_blocks.split(batch, self._block_size)
        return reduction_blocks.add([self._gradients(weights, block) for block in blocks])

    def _gradients(self, weights, batch):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            sums = self.sums(weights, batch)
            loss = sums[0]
        return tape.gradient(loss, weights), sums

    def mean(self, gradients, count):
        # A product, which XLA fuses into the update; it would run a division as a separate pass.
        scale = 1.0 / tf.maximum(count, 1.0)
        gradients = [gradient * scale for gradient in gradients]
        if self._global_clipnorm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._global_clipnorm)
        return gradients

    def update(self, weights, slots, gradients):
        updated = [
            self._optimizer(tuple(weight.shape)).stateless_apply(own, [gradient], [weight])
            for weight, own, gradient in zip(weights, slots, gradients, strict=True)
        ]
        return [weight for (weight,), _ in updated], [list(own) for _, own in updated]

    def sums(self, weights, batch):
        features, targets, example_weights = batch
        features = tf.cast(features, tf.float32) * self._feature_scale
        outputs, _ = self.model.stateless_call(weights, [], features, training=True)
        losses, metrics = self._loss.per_example(targets, outputs)
        return tf.stack(
            [
                tf.reduce_sum(losses * example_weights),
                tf.reduce_sum(metrics * example_weights),
                tf.reduce_sum(example_weights),
            ]
        )

    def _optimizer(self, shape: tuple[int, ...]):
        """The optimizer of any weight of this shape; only its variables' shapes are used."""
        if shape not in self._optimizers:
            with tf.init_scope(), tf.device("CPU:0"):
                optimizer = self._make_optimizer()
                optimizer.build([keras.Variable("zeros", shape, "float32", name="weight")])
            self._optimizers[shape] = optimizer
        return self._optimizers[shape]


def _zeros(variable) -> np.ndarray:
    return np.broadcast_to(np.zeros((), variable.dtype), variable.shape)
