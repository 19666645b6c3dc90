"""A small convolutional net that computes in bfloat16 and keeps its weights in float32."""

import keras

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(name="digits", global_batch_size=48, train_examples=106),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
        train=TrainConfig(epochs=2),
    )


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    keras.config.set_dtype_policy("mixed_bfloat16")
    return keras.Sequential(
        [
            keras.Input(data["train"][0].shape[1:]),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(4, 3, strides=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(10),
        ]
    )
