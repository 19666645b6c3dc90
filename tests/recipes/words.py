"""A net of embeddings, attention and a pair of dense layers, on made-up sentences with padding."""

import keras
import numpy as np

from trainer.recipe import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, TrainConfig

VOCABULARY, LENGTH, WIDTH = 24, 8, 16


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=48, train_examples=106),
        model=ModelConfig(blocks=4),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
        train=TrainConfig(epochs=2, reduction_blocks=2),
    )


def get_data(config):
    rng = np.random.default_rng(0)
    words = rng.integers(1, VOCABULARY, (160, LENGTH)).astype(np.int32)
    words[np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, (160, 1))] = 0
    labels = (words == 7).any(1).astype(np.int32)
    return {"train": (words[:120], labels[:120]), "test": (words[120:], labels[120:])}


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    words = keras.Input((LENGTH,), dtype="int32")
    embedded = layers.Embedding(VOCABULARY, WIDTH, mask_zero=True, name="words")(words)
    places = keras.ops.cumsum(keras.ops.ones_like(words), 1) - 1
    x = layers.Add()([embedded, layers.Embedding(LENGTH, WIDTH, name="places")(places)])
    own = layers.LayerNormalization()(x)
    attention = layers.MultiHeadAttention(4, 4, dropout=0.2, name="to_itself")
    x = layers.Add()([x, attention(own, own, use_causal_mask=True)])
    attention = layers.MultiHeadAttention(4, 4, value_dim=3, use_bias=False, name="to_words")
    x = layers.Add()([x, attention(layers.LayerNormalization()(x), embedded)])
    hidden = layers.Dense(32, activation="gelu", name="up")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(WIDTH, name="down")(layers.Dropout(0.1)(hidden))])
    return keras.Model(words, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))
