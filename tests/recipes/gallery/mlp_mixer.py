"""A mixer: patches of pictures, mixed by dense layers over the patches and over their channels.

python -m trainer --config=tests/recipes/gallery/mlp_mixer.py
"""

import keras
import small_data

from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(data=DataConfig(global_batch_size=32), train=TrainConfig(epochs=6))


def get_data(config):
    return small_data.splits(small_data.pictures)


def _mixed(x, width):
    layers = keras.layers
    y = layers.Dense(width, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Add()([x, layers.Dropout(0.1)(layers.Dense(x.shape[-1])(y))])


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    pictures = keras.Input((12, 12, 1))
    x = layers.Conv2D(12, 4, strides=4)(layers.Rescaling(1 / 127.5, -1)(pictures))
    x = layers.Reshape((9, 12))(x)
    for _ in range(2):
        x = layers.Permute((2, 1))(_mixed(layers.Permute((2, 1))(x), 16))
        x = _mixed(x, 16)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(pictures, layers.Dense(2)(x))


def get_optimizer(config):
    schedule = keras.optimizers.schedules.CosineDecay(0.002, 50, warmup_target=0.01, warmup_steps=8)
    return keras.optimizers.AdamW(schedule, weight_decay=0.001, clipnorm=1.0)
