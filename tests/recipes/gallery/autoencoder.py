"""A convolutional autoencoder that removes noise: its targets are the pictures without it.

python -m trainer --config=tests/recipes/gallery/autoencoder.py
"""

import keras
import numpy as np
import small_data

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adam", learning_rate=0.01),
        train=TrainConfig(epochs=4),
    )


def get_data(config):
    def noisy(random, count):
        images, _ = small_data.pictures(random, count)
        clean = (images > 200).astype(np.float32)
        return clean + random.normal(0, 0.4, clean.shape), clean

    return small_data.splits(noisy)


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    pictures = keras.Input((12, 12, 1))
    x = layers.Conv2D(8, 3, activation="relu", padding="same")(pictures)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Conv2D(8, 3, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2D(1, 3, activation="sigmoid", padding="same")(x)
    model = keras.Model(pictures, x)
    model.compile(loss="binary_crossentropy")
    return model


def get_optimizer(config):
    return keras.optimizers.Adam(0.01)
