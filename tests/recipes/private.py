"""A small convolutional net with dropout, trained with differential privacy until its budget is spent."""

import keras

from trainer.recipe import (
    DataConfig,
    ExperimentConfig,
    OptimizerConfig,
    PrivacyConfig,
    TrainConfig,
)


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(name="digits", global_batch_size=48, train_examples=106),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
        train=TrainConfig(epochs=2),
        privacy=PrivacyConfig(clip_norm=0.5, noise_multiplier=1.0, max_epsilon=7.0),
    )


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(data["train"][0].shape[1:]),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(4, 3, strides=2, activation="tanh"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(10, kernel_regularizer="l2"),
        ]
    )
