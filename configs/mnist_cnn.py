"""A convolutional net with batch normalization, dropout and augmentation on MNIST.

    python -m trainer --config=mnist_cnn

Expect 4,690 steps (10 epochs), about 240 s of processor time on two cores, and a test accuracy above
0.992 (0.9947 measured). MNIST is read from where `mnist_dense` reads it.

Each image is turned by up to 15 degrees and shifted by up to 2 pixels, anew in every epoch.
"""

import math

import keras
import numpy as np

from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig

_SIZE = 28
_CENTRE = (_SIZE - 1) / 2
_MAX_ANGLE = math.radians(15)
_MAX_SHIFT = 2.0  # Pixels.
_DOWN, _RIGHT = np.mgrid[:_SIZE, :_SIZE].astype(np.float32) - np.float32(_CENTRE)


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(name="mnist", global_batch_size=128), train=TrainConfig(epochs=10)
    )


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    stack = [keras.Input((_SIZE, _SIZE)), layers.Reshape((_SIZE, _SIZE, 1))]
    for filters in (16, 32, 64):
        stack += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    stack += [layers.Flatten(), layers.Dropout(0.25), layers.Dense(10)]
    return keras.Sequential(stack, name="mnist_cnn")


def get_optimizer(config) -> keras.optimizers.Optimizer:
    steps_per_epoch = math.ceil(60_000 / config.data.global_batch_size)
    steps = config.train.steps or config.train.epochs * steps_per_epoch
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.002, steps))


def augment(example, rng):
    """Turns an image about its centre and shifts it, with bilinear interpolation."""
    image, label = example
    angle = rng.uniform(-_MAX_ANGLE, _MAX_ANGLE)
    shift_down, shift_right = _CENTRE + 1 - rng.uniform(-_MAX_SHIFT, _MAX_SHIFT, 2)
    cos, sin = math.cos(angle), math.sin(angle)
    # Where each pixel comes from, in an image with a black edge of one pixel.
    rows = np.clip(cos * _DOWN - sin * _RIGHT + np.float32(shift_down), 0, _SIZE)
    columns = np.clip(sin * _DOWN + cos * _RIGHT + np.float32(shift_right), 0, _SIZE)
    row, column = rows.astype(int), columns.astype(int)
    down, right = rows - row, columns - column
    edged = np.zeros((_SIZE + 2, _SIZE + 2), np.float32)
    edged[1:-1, 1:-1] = image
    upper = (1 - right) * edged[row, column] + right * edged[row, column + 1]
    lower = (1 - right) * edged[row + 1, column] + right * edged[row + 1, column + 1]
    return np.rint((1 - down) * upper + down * lower).astype(image.dtype), label
