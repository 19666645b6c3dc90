"""Wide and deep, on columns of numbers and text: crossed and one-hot columns beside a deep net.

python -m trainer --config=tests/recipes/gallery/wide_and_deep.py
"""

import keras
import small_data

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig

layers = keras.layers


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adam", learning_rate=0.01),
        train=TrainConfig(epochs=5),
    )


def get_data(config):
    return small_data.splits(small_data.people)


def get_model(config, data) -> keras.Model:
    columns, _ = data["train"]
    inputs, wide, deep = {}, [], []
    for name in ("age", "hours"):
        inputs[name] = keras.Input((1,), name=name)
        scale = layers.Normalization()
        scale.adapt(columns[name])
        deep.append(scale(inputs[name]))
    for name in ("job", "town"):
        inputs[name] = keras.Input((1,), name=name, dtype="string")
        lookup = layers.StringLookup()
        lookup.adapt(columns[name])
        index = lookup(inputs[name])
        wide.append(layers.CategoryEncoding(lookup.vocabulary_size(), "one_hot")(index))
        deep.append(layers.Flatten()(layers.Embedding(lookup.vocabulary_size(), 3)(index)))
    cross = layers.HashedCrossing(16, output_mode="one_hot")
    wide.append(cross((inputs["job"], inputs["town"])))
    x = layers.Concatenate()(deep)
    for _ in range(2):
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(layers.Dense(16)(x)))
    x = layers.Concatenate()([layers.BatchNormalization()(layers.Concatenate()(wide)), x])
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
