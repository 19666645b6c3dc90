"""A variational autoencoder: a layer draws with its own seed, and adds the divergence to the loss.

python -m trainer --config=tests/recipes/gallery/variational_autoencoder.py
"""

import keras
import numpy as np
import small_data
from keras import layers, ops

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


class Sampling(layers.Layer):
    """Draws from N(mean, exp(log_variance)), and adds its divergence from N(0, 1) to the loss."""

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, log_variance = inputs
        divergence = ops.square(mean) + ops.exp(log_variance) - 1 - log_variance
        self.add_loss(self.weight * ops.mean(0.5 * ops.sum(divergence, axis=1)))
        drawn = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return mean + ops.exp(0.5 * log_variance) * drawn


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adam", learning_rate=0.005),
        train=TrainConfig(epochs=5),
    )


def get_data(config):
    def itself(random, count):
        images = (small_data.pictures(random, count)[0] > 200).astype(np.float32)
        return images, images

    return small_data.splits(itself)


def get_model(config, data) -> keras.Model:
    pictures = keras.Input((12, 12, 1))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", padding="same")(pictures)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    drawn = Sampling(0.01)([layers.Dense(2)(x), layers.Dense(2)(x)])
    x = layers.Dense(6 * 6 * 8, activation="relu")(drawn)
    x = layers.Reshape((6, 6, 8))(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2D(1, 3, activation="sigmoid", padding="same")(x)
    return keras.Model(pictures, x)


def get_loss(config):
    return "binary_crossentropy"
