"""What is one step, as mathematics?

`TrainingProgram` turns a Keras model, loss and optimizer into pure functions of tensors, so that a
strategy may call them on any device, inside a compiled loop or around an exchange. Nothing here
logs, saves or knows how many replicas there are: losses are summed, and divided by the number of
examples once all replicas have added theirs. Clipping comes after that, so that it means the same
on any cluster.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.model import build as models
from trainer.model import reduction_blocks
from trainer.model.losses import classification, regression
from trainer.model.optimizers import make_optimizer


class TrainingProgram:
    """The step of one experiment. Implements `strategies.runtime.Program`.

    `block_size`: examples whose gradients are added up by themselves, see `reduction_blocks.py`; 0: all.
    """

    def __init__(self, config: ExperimentConfig, dataset: Dataset, block_size: int = 0):
        # The process's, under the name that it has on GPUs; a TPU's compiler is told the same.
        tf.config.experimental.enable_tensor_float_32_execution(not config.train.exact_products)
        shape = dataset.train.features.shape[1:]
        self.model = models.build(config.model, shape, dataset.num_outputs, config.train.seed)
        self.metric_name = "accuracy" if dataset.num_classes else "mean_absolute_error"
        self._feature_scale = dataset.feature_scale
        self._losses = classification if dataset.num_classes else regression
        self._block_size = block_size
        self._optimizer_config = config.optimizer
        self._optimizers = {}

    @property
    def weight_names(self) -> list[str]:
        """ "layer/kernel" and the like, in the order of the model's trainable variables."""
        return [variable.path.partition("/")[2] for variable in self.model.trainable_variables]

    def initial_weights(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self.model.trainable_variables]

    def initial_slots(self, weights: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        return [
            [slot.numpy() for slot in self._optimizer(weight.shape).variables] for weight in weights
        ]

    def shapes(self) -> tuple[list, list[list]]:
        """Of the weights and of their slots, arrays of zeros that take no memory."""
        weights = [_zeros(variable) for variable in self.model.trainable_variables]
        return weights, [[_zeros(s) for s in self._optimizer(w.shape).variables] for w in weights]

    def slot_names(self, shape: tuple[int, ...]) -> list[str]:
        """ "iteration", "momentum" and the like: what an optimizer keeps for one weight."""
        return [slot.path.rpartition("/")[2] for slot in self._optimizer(shape).variables]

    def gradients(self, weights, batch):
        parts = reduction_blocks.split(batch, self._block_size)
        return reduction_blocks.added([self._gradients(weights, part) for part in parts])

    def _gradients(self, weights, batch):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            sums = self.sums(weights, batch)
            loss = sums[0]
        return tape.gradient(loss, weights), sums

    def mean(self, gradients, count):
        # A product, which XLA folds into the update; a quotient would be a sweep of its own.
        scale = 1.0 / tf.maximum(count, 1.0)
        gradients = [gradient * scale for gradient in gradients]
        if self._optimizer_config.global_clipnorm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._optimizer_config.global_clipnorm)
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
        losses, metrics = self._losses(targets, outputs)
        return tf.stack(
            [
                tf.reduce_sum(losses * example_weights),
                tf.reduce_sum(metrics * example_weights),
                tf.reduce_sum(example_weights),
            ]
        )

    def _optimizer(self, shape: tuple[int, ...]):
        """The optimizer of one weight of this shape; of its variables only the shapes matter."""
        if shape not in self._optimizers:
            with tf.init_scope(), tf.device("CPU:0"):
                optimizer = make_optimizer(self._optimizer_config)
                optimizer.build([keras.Variable("zeros", shape, "float32", name="weight")])
            self._optimizers[shape] = optimizer
        return self._optimizers[shape]


def _zeros(variable) -> np.ndarray:
    return np.broadcast_to(np.zeros((), variable.dtype), variable.shape)
