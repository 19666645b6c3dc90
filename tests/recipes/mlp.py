"""A functional net with two pairs of dense layers, dropout and batch normalization, on the digits."""

import keras

from trainer.recipe import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(name="digits", global_batch_size=48, train_examples=106),
        model=ModelConfig(blocks=4),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
        train=TrainConfig(epochs=2),
    )


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    inputs = keras.Input(data["train"][0].shape[1:])
    hidden = layers.Flatten()(inputs)
    hidden = layers.Dense(36, activation="gelu", name="up_1")(hidden)
    hidden = layers.Dropout(0.25)(hidden)
    hidden = layers.Dense(20, name="down_1")(hidden)
    mean = layers.BatchNormalization()(hidden)
    more = layers.Dense(12, use_bias=False, name="up_2")(mean)
    more = layers.LeakyReLU()(more)
    more = layers.Dense(20, activation="tanh", name="down_2")(more)
    outputs = layers.Dense(10, name="head")(layers.Add()([mean, more]))
    return keras.Model(inputs, outputs)
