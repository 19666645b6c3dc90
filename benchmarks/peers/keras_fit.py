"""Keras `fit`: with its defaults, or with the best settings found.

The best on two cores: `jit_compile=True` and as many steps in one execution as divide the work, with
tf.data's prefetch; `steps_per_execution` of 32 and 200 differ by less than the noise.
"""

import sys

import keras
import tensorflow as tf

from benchmarks.work import Work, report


def main() -> None:
    work, is_tuned = Work.from_args(), sys.argv[2] == "tuned"
    images, labels = work.in_order()
    model = work.keras_model()
    tuned = {"jit_compile": True, "steps_per_execution": 100} if is_tuned else {}
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **tuned,
    )

    def train(first_step: int, end_step: int) -> float:
        part = slice(first_step * work.batch, end_step * work.batch)
        dataset = tf.data.Dataset.from_tensor_slices((images[part], labels[part]))
        dataset = dataset.batch(work.batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        return float(model.fit(dataset, verbose=0).history["loss"][0])

    report(work, train)


if __name__ == "__main__":
    main()
