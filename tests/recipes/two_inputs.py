"""Two inputs and two outputs, loss weights, a regularizer, a schedule and metrics, on made-up data."""

import keras
import made_up

from trainer.recipe import DataConfig, ExperimentConfig, TrainConfig


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(global_batch_size=48, train_examples=106), train=TrainConfig(epochs=2)
    )


def get_data(config):
    return {"train": made_up.examples(120, seed=1), "test": made_up.examples(60, seed=2)}


def get_model(config, data) -> keras.Model:
    layers = keras.layers
    numbers = keras.Input((made_up.NUMBERS,), name="numbers")
    words = keras.Input((made_up.WORDS,), dtype="int32", name="words")
    embedded = layers.Embedding(made_up.VOCABULARY, 4)(words)
    normalization = layers.Normalization()
    normalization.adapt(data["train"][0]["numbers"])
    hidden = layers.Concatenate()(
        [
            layers.Dense(8, activation="tanh", kernel_regularizer="l2")(normalization(numbers)),
            layers.GlobalAveragePooling1D()(layers.GRU(4, return_sequences=True)(embedded)),
        ]
    )
    model = keras.Model(
        {"numbers": numbers, "words": words},
        {
            "kind": layers.Dense(3, name="kind")(hidden),
            "value": layers.Dense(1, name="value")(layers.GaussianNoise(0.1)(hidden)),
        },
    )
    model.compile(
        loss={
            "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "value": "mean_squared_error",
        },
        loss_weights={"kind": 1.0, "value": 0.5},
        metrics={"kind": ["accuracy"], "value": [keras.metrics.RootMeanSquaredError()]},
    )
    return model


def get_optimizer(config):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)
    return keras.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0)
