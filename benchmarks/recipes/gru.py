"""Which recipe trains the net `gru` of `nets.py`, as the peers do? This one."""

import keras
import nets

from trainer.recipe import DataConfig, ExperimentConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(data=DataConfig(name="mnist"))


def get_model(config, data) -> keras.Model:
    return nets.build(keras, "gru", (28, 28))
