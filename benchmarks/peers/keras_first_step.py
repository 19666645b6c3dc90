"""Keras `fit` on the default recipe's images and batch, which says when its first step is done."""

import keras

from trainer.config.schema import DataConfig
from trainer.data import registry


def main() -> None:
    split = registry.load(DataConfig(name="digits")).train
    model = keras.Sequential(
        [
            keras.Input(split.features.shape[1:]),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(split.features[:64], split.targets[:64], batch_size=64, verbose=0)
    print("first step", flush=True)


if __name__ == "__main__":
    main()
