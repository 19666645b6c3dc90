"""A net that overfits a few of the digits, with the config's options of training.

    python -m trainer --config=tests/recipes/options.py

It stops early, some epochs before the last.
"""

import keras

from trainer.recipe import (
    DataConfig,
    EarlyStoppingConfig,
    ExperimentConfig,
    OptimizerConfig,
    TrainConfig,
)


def get_config():
    return ExperimentConfig(
        data=DataConfig(global_batch_size=48, train_examples=160, validation_fraction=0.4),
        optimizer=OptimizerConfig(
            "nadam",
            learning_rate=0.05,
            schedule="cosine",
            warmup_steps=3,
            weight_decay=0.001,
            ema_momentum=0.5,
        ),
        train=TrainConfig(epochs=30),
        early_stopping=EarlyStoppingConfig(patience=2),
    )


def get_model(config, data):
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ]
    )
