"""A classifier of time series by convolutions: three blocks of Conv1D, batch normalization and ReLU.

python -m trainer --config=tests/recipes/gallery/timeseries_convnet.py
"""

import keras
import small_data

from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(data=DataConfig(global_batch_size=32), train=TrainConfig(epochs=5))


def get_data(config):
    return small_data.splits(small_data.waves)


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    series = x = keras.Input((40, 1))
    for _ in range(3):
        x = layers.Conv1D(12, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(series, x)
    model.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
    )
    return model
