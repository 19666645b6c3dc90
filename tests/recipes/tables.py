"""Five embeddings: of words, of users and of items by rows, of places and of kinds whole.

python -m trainer --config=tests/recipes/tables.py
"""

import keras
import numpy as np

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig

layers, ops = keras.layers, keras.ops
WORDS, LENGTH, USERS, ITEMS, KINDS = 20_000, 12, 501, 300, 40


class Likes(keras.layers.Layer):
    """[b]: the dot product of embeddings of a user and an item, from int [b, 2]."""

    def __init__(self, **options):
        super().__init__(**options)
        self.users, self.items = layers.Embedding(USERS, 4), layers.Embedding(ITEMS, 4)

    def call(self, pairs):
        alike = self.users(pairs[:, 0]) * self.items(pairs[:, 1])
        return ops.sum(alike, axis=1, keepdims=True)


class Places(keras.layers.Layer):
    """Adds an embedding of the place to each word."""

    def __init__(self, **options):
        super().__init__(**options)
        self.places = layers.Embedding(LENGTH, 16)

    def call(self, words):
        return words + self.places(ops.arange(LENGTH))


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adagrad", learning_rate=0.05),
        train=TrainConfig(steps=14, epochs=9, log_examples=True),
    )


def get_data(config):
    random = np.random.default_rng(1)

    def split(count):
        words = random.integers(0, WORDS, (count, LENGTH), np.int32)
        pairs = np.stack([random.integers(0, n, count, np.int32) for n in (USERS, ITEMS)], 1)
        kinds = random.integers(0, KINDS, (count, 1), np.int32)
        labels = ((words.sum(1) + pairs.sum(1) + kinds[:, 0]) % 3).astype(np.int32)
        return {"words": words, "pairs": pairs, "kinds": kinds}, labels

    return {"train": split(106), "test": split(60)}


def get_model(config, data) -> keras.Model:
    words = keras.Input((LENGTH,), dtype="int32", name="words")
    pairs = keras.Input((2,), dtype="int32", name="pairs")
    kinds = keras.Input((1,), dtype="int32", name="kinds")
    x = Places(name="places")(layers.Embedding(WORDS, 16, name="words_table")(words))
    x = layers.GlobalAveragePooling1D()(x)
    l2 = keras.regularizers.L2(1e-3)
    kind = layers.Embedding(KINDS, 2, embeddings_regularizer=l2, name="kinds_table")(kinds)
    x = layers.Concatenate()([x, Likes(name="likes")(pairs), layers.Flatten()(kind)])
    x = layers.Dropout(0.2)(layers.Dense(8, activation="relu")(x))
    return keras.Model([words, pairs, kinds], layers.Dense(3, activation="softmax")(x))


def get_loss(config):
    return "sparse_categorical_crossentropy"
