"""Keras `fit`: with its defaults, or with the best settings found.

It is given tensors in memory. On two cores these were the fastest input, ahead of NumPy arrays and of
`tf.data` with prefetching. The best settings were `jit_compile=True` with a whole epoch in one execution,
slightly ahead of 464 and of 100 steps. Under MirroredStrategy over logical CPUs only the defaults train:
several steps in one execution end in an error of TensorFlow's, with `jit_compile` and without.
"""

import statistics
import sys

import keras
import tensorflow as tf

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report


def main() -> None:
    work, is_tuned = Work.from_args(), sys.argv[2] == "tuned"
    images, labels = work.in_order()
    num_devices = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    tuned = {"jit_compile": True, "steps_per_execution": work.warm_up} if is_tuned else {}
    with strategy(num_devices).scope():
        model = keras_model(keras, work)
        model.compile(
            optimizer=keras.optimizers.Adam(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **tuned,
        )
    batch = work.global_batch_size

    epochs = [
        tuple(tf.constant(array[first : first + work.num_examples]) for array in (images, labels))
        for first in range(0, len(labels), work.num_examples)
    ]

    def train(first_step: int, end_step: int) -> float:
        losses = []
        for epoch in range(first_step // work.warm_up, end_step // work.warm_up):
            fitted = model.fit(*epochs[epoch], batch_size=batch, shuffle=False, verbose=0)
            losses.append(float(fitted.history["loss"][0]))
        return statistics.mean(losses)

    report(work, train)


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
