"""Keras `fit` on its JAX backend, from arrays in memory, with many steps in one execution."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report


def main() -> None:
    work = Work.from_args()
    images, labels = work.in_order()
    model = keras_model(keras, work)
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
        steps_per_execution=50,
    )

    def train(first_step: int, end_step: int) -> float:
        batch = work.global_batch_size
        part = slice(first_step * batch, end_step * batch)
        history = model.fit(images[part], labels[part], batch, shuffle=False, verbose=0)
        return float(history.history["loss"][0])

    report(work, train)


if __name__ == "__main__":
    main()
