"""Keras `fit`: with its defaults, or with the best settings found.

The best on two cores: `jit_compile=True` and a number of steps per execution that divides the work, with
tf.data's prefetch; `steps_per_execution` of 32 and 200 differ by less than the noise. Under
MirroredStrategy over logical CPUs only the defaults train: several steps in one execution end in an error
of TensorFlow's, with `jit_compile` and without.
"""

import sys

import keras
import tensorflow as tf

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report


def main() -> None:
    work, is_tuned = Work.from_args(), sys.argv[2] == "tuned"
    images, labels = work.in_order()
    num_devices = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    tuned = {"jit_compile": True, "steps_per_execution": 100} if is_tuned else {}
    with strategy(num_devices).scope():
        model = keras_model(keras, work)
        model.compile(
            optimizer=keras.optimizers.Adam(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **tuned,
        )
    batch = work.global_batch_size

    def train(first_step: int, end_step: int) -> float:
        part = slice(first_step * batch, end_step * batch)
        dataset = tf.data.Dataset.from_tensor_slices((images[part], labels[part]))
        dataset = dataset.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        return float(model.fit(dataset, verbose=0).history["loss"][0])

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
