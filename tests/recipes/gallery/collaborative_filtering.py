"""Collaborative filtering by a subclassed model: the dot product of embeddings of users and films.

python -m trainer --config=tests/recipes/gallery/collaborative_filtering.py
"""

import keras
import small_data
from keras import layers, ops

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


class Likes(keras.Model):
    """[b, 1]: how much a user likes a film, from int [b, 2]."""

    def __init__(self, users, films, width):
        super().__init__()
        self.users, self.films = self._embedding(users, width), self._embedding(films, width)
        self.user_biases, self.film_biases = layers.Embedding(users, 1), layers.Embedding(films, 1)

    def _embedding(self, rows, width):
        return layers.Embedding(
            rows,
            width,
            embeddings_initializer="he_normal",
            embeddings_regularizer=keras.regularizers.L2(1e-4),
        )

    def call(self, pairs):
        user, film = pairs[:, 0], pairs[:, 1]
        alike = ops.sum(self.users(user) * self.films(film), axis=1, keepdims=True)
        return ops.sigmoid(alike + self.user_biases(user) + self.film_biases(film))


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adam", learning_rate=0.02),
        train=TrainConfig(epochs=6),
    )


def get_data(config):
    return small_data.splits(small_data.ratings)


def get_model(config, data) -> keras.Model:
    model = Likes(30, 20, 4)
    model.compile(loss=keras.losses.BinaryCrossentropy(), metrics=["mean_absolute_error"])
    return model


def get_optimizer(config):
    return keras.optimizers.Adam(config.optimizer.learning_rate)
