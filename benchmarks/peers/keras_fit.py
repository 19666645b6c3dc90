"""Keras `fit`: with its defaults, or in the fastest of the ways that its users know.

Those are options, which `python -m benchmarks.ways keras_fit` tries: input as `tensors` in memory, as
NumPy `arrays`, as a `dataset` (tf.data, batched and prefetched), or as one that is `cached` after
batching; 1 to 500 steps in an execution, or a whole epoch; with `jit_compile` and without. On two cores
tensors were the fastest input, and `jit_compile=true` with a whole epoch in one execution the best
setting, slightly ahead of 464 and of 100 steps. Under MirroredStrategy over logical CPUs (`devices`)
only the defaults train: several steps in one execution end in an error of TensorFlow's, with
`jit_compile` and without.
"""

import statistics
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, options, report


def main() -> None:
    work = Work.from_args()
    way = options(input="tensors", steps_per_execution=1, jit_compile="auto", devices=1)
    per_call = work.warm_up if way.steps_per_execution == "epoch" else way.steps_per_execution
    with strategy(way.devices).scope():
        model = keras_model(keras, work)
        model.compile(
            optimizer=keras.optimizers.Adam(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=way.jit_compile,
            steps_per_execution=min(per_call, work.warm_up),
        )
    epochs = [made(way.input, epoch, work.global_batch_size) for epoch in by_epoch(work)]

    def train(first_step: int, end_step: int) -> float:
        losses = []
        for epoch in range(first_step // work.warm_up, end_step // work.warm_up):
            fitted = model.fit(**epochs[epoch], shuffle=False, verbose=0)
            losses.append(float(fitted.history["loss"][0]))
        return statistics.mean(losses)

    report(work, train)


def by_epoch(work: Work) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels of each epoch."""
    images, labels = work.in_order()
    parts = [slice(i, i + work.num_examples) for i in range(0, len(labels), work.num_examples)]
    return [(images[part], labels[part]) for part in parts]


def made(kind: str, epoch: tuple[np.ndarray, np.ndarray], batch: int) -> dict[str, Any]:
    """What `fit` is given for an epoch."""
    if kind == "arrays":
        return {"x": epoch[0], "y": epoch[1], "batch_size": batch}
    if kind == "tensors":
        return {"x": tf.constant(epoch[0]), "y": tf.constant(epoch[1]), "batch_size": batch}
    dataset = tf.data.Dataset.from_tensor_slices(epoch).batch(batch, drop_remainder=True)
    if kind == "cached":
        dataset = dataset.cache()
    return {"x": dataset.prefetch(tf.data.AUTOTUNE)}


def strategy(num_devices: int) -> tf.distribute.Strategy:
    """MirroredStrategy over this number of logical devices of the CPU; TensorFlow's default for one."""
    if num_devices == 1:
        return tf.distribute.get_strategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * num_devices
    tf.config.set_logical_device_configuration(cpu, devices)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(num_devices)])


if __name__ == "__main__":
    main()
