"""A small vision transformer on the embedded digits.

    python -m trainer --config=digits_vit

Expect 1,200 steps (50 epochs), 47 s of processor time on two cores, a training loss below 0.01 and a
test accuracy near 0.95 (0.950 measured): a transformer has to learn from 1,497 examples what is beside
what, which a convolution is given.

An image is a sequence of 16 patches of 7 x 7 pixels.
"""

import math

import keras

from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig

_PATCH, _PATCHES, _WIDTH, _HEADS, _LAYERS = 7, 16, 64, 4, 2
_DROPOUT = 0.1


class Position(keras.layers.Layer):
    """Adds a learned vector for each place in the sequence."""

    def build(self, shape):
        self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal", name="vectors")

    def call(self, sequence):
        return sequence + self.vectors


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(name="digits", global_batch_size=64), train=TrainConfig(epochs=50)
    )


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    image = keras.Input((28, 28))
    patches = layers.Conv2D(_WIDTH, _PATCH, strides=_PATCH)(layers.Reshape((28, 28, 1))(image))
    sequence = Position()(layers.Reshape((_PATCHES, _WIDTH))(patches))
    for _ in range(_LAYERS):
        normalized = layers.LayerNormalization()(sequence)
        attention = layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS, dropout=_DROPOUT)
        sequence = layers.Add()([sequence, attention(normalized, normalized)])
        hidden = layers.LayerNormalization()(sequence)
        hidden = layers.Dense(2 * _WIDTH, activation="gelu")(hidden)
        hidden = layers.Dropout(_DROPOUT)(layers.Dense(_WIDTH)(hidden))
        sequence = layers.Add()([sequence, hidden])
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(sequence))
    return keras.Model(image, layers.Dense(10)(pooled), name="digits_vit")


def get_optimizer(config) -> keras.optimizers.Optimizer:
    steps_per_epoch = math.ceil(1_497 / config.data.global_batch_size)
    steps = config.train.steps or config.train.epochs * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(0.002, steps)
    return keras.optimizers.AdamW(schedule, weight_decay=0.01)
