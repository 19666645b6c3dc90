"""A convolutional net with shifts, mirror images and a cosine schedule on Fashion-MNIST.

    python -m trainer --config=fashion_cnn --config.data.dir=FOLDER

Expect 7,035 steps (15 epochs), in minutes on two cores. FOLDER has the four original files of
Fashion-MNIST, which are named as MNIST's (train-images-idx3-ubyte.gz and so on); MUSTER_FASHION_MNIST_DIR
may name it too. Where they are not on this machine they are downloaded, and where they cannot be, one
line says where to put them.

Each picture is shifted by up to 2 pixels and mirrored every second time, anew in every epoch: a shoe
that points to the left is a shoe.
"""

import keras
import numpy as np

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig

_SIZE, _CLASSES = 28, 10
_MAX_SHIFT = 2  # Pixels.


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(source="tfds:fashion_mnist", global_batch_size=128),
        optimizer=OptimizerConfig(
            name="adam", learning_rate=0.002, schedule="cosine", warmup_steps=100
        ),
        train=TrainConfig(epochs=15),
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
    stack += [layers.Flatten(), layers.Dropout(0.3), layers.Dense(_CLASSES)]
    return keras.Sequential(stack, name="fashion_cnn")


def augment(example, rng):
    image, label = example
    down, right = rng.integers(0, 2 * _MAX_SHIFT + 1, 2)
    edged = np.pad(image, _MAX_SHIFT)
    moved = edged[down : down + _SIZE, right : right + _SIZE]
    return (moved[:, ::-1] if rng.random() < 0.5 else moved), label
