"""A small transformer for classes of texts, of two custom layers.

python -m trainer --config=tests/recipes/gallery/text_transformer.py
"""

import keras
import small_data
from keras import layers, ops

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


class WordsAndPlaces(layers.Layer):
    """The sum of an embedding of the words and one of their places."""

    def __init__(self, vocabulary, length, width, **kwargs):
        super().__init__(**kwargs)
        self.words = layers.Embedding(vocabulary, width)
        self.places = layers.Embedding(length, width)

    def call(self, x):
        return self.words(x) + self.places(ops.arange(ops.shape(x)[1]))


class Block(layers.Layer):
    """Attention and a feed-forward net, each with dropout, a residual and normalization."""

    def __init__(self, width, heads, hidden, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(heads, width // heads)
        self.forward = keras.Sequential([layers.Dense(hidden, "relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.drops = [layers.Dropout(0.1) for _ in range(2)]

    def call(self, x, training=False):
        x = self.norms[0](x + self.drops[0](self.attention(x, x), training=training))
        return self.norms[1](x + self.drops[1](self.forward(x), training=training))


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adam", learning_rate=0.01),
        train=TrainConfig(epochs=6),
    )


def get_data(config):
    return small_data.splits(small_data.sentences)


def get_model(config, data) -> keras.Model:
    words = keras.Input((10,), dtype="int32")
    x = Block(16, 2, 16)(WordsAndPlaces(20, 10, 16)(words))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(words, layers.Dense(2, activation="softmax")(x))
