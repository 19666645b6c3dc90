"""Two bidirectional LSTMs on words, of which padding is masked.

python -m trainer --config=tests/recipes/gallery/bidirectional_lstm.py
"""

import keras
import small_data

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adam", learning_rate=0.02),
        train=TrainConfig(epochs=5),
    )


def get_data(config):
    return small_data.splits(small_data.sentences)


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(20, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(6)),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
