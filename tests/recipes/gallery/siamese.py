"""A siamese net: one tower for two pictures, and a contrastive loss of their distance.

python -m trainer --config=tests/recipes/gallery/siamese.py
"""

import keras
import numpy as np
import small_data
from keras import ops

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


class Distance(keras.layers.Layer):
    """[b, 1]: the Euclidean distance of two vectors."""

    def call(self, pair):
        one, other = pair
        squares = ops.sum(ops.square(one - other), axis=1, keepdims=True)
        return ops.sqrt(ops.maximum(squares, keras.config.epsilon()))


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("rmsprop", learning_rate=0.003),
        train=TrainConfig(epochs=6),
    )


def get_data(config):
    def pairs(random, count):
        images, kinds = small_data.pictures(random, 2 * count)
        halves = np.split(images / 255.0, 2)
        differ = kinds[:count] != kinds[count:]
        return {"left": halves[0], "right": halves[1]}, differ.astype(np.float32)[:, None]

    return small_data.splits(pairs)


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    tower = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.BatchNormalization(),
            layers.Conv2D(6, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(8, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(6),
        ]
    )
    inputs = {name: keras.Input((12, 12, 1), name=name) for name in ("left", "right")}
    return keras.Model(inputs, Distance()([tower(one) for one in inputs.values()]))


def get_loss(config, margin=1.0):
    def contrastive(differs, distance):
        alike = (1 - differs) * ops.square(distance)
        return ops.mean(alike + differs * ops.square(ops.maximum(margin - distance, 0)), axis=-1)

    return contrastive


def get_metrics(config):
    return [keras.metrics.BinaryAccuracy(threshold=0.5)]
