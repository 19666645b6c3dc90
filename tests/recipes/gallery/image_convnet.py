"""A convolutional image classifier: augmentation in the model, separable convolutions, a residual.

python -m trainer --config=tests/recipes/gallery/image_convnet.py
"""

import keras
import small_data

from trainer.recipe import DataConfig, ExperimentConfig, OptimizerConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=32),
        optimizer=OptimizerConfig("adam", learning_rate=0.01),
        train=TrainConfig(epochs=6),
    )


def get_data(config):
    return small_data.splits(small_data.pictures)


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    images = keras.Input((12, 12, 1))
    x = layers.RandomFlip("horizontal")(images)
    x = layers.RandomTranslation(0.05, 0.05)(x)
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    residual = layers.Conv2D(12, 1, strides=2, padding="same")(x)
    x = layers.SeparableConv2D(12, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, residual]))
    return keras.Model(images, layers.Dense(1)(layers.Dropout(0.1)(x)))


def get_loss(config):
    return keras.losses.BinaryCrossentropy(from_logits=True)


def get_metrics(config):
    return [keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")]
