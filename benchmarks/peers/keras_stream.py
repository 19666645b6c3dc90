"""A hand-tuned tf.data pipeline into a compiled loop of many steps.

The pixels stream as uint8: batched a loop's worth at a time, cast and scaled by parallel calls, and
prefetched. The compiled function takes all the loop's steps.
"""

import keras
import tensorflow as tf

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report

_STEPS_PER_LOOP = 58  # It divides an epoch's steps at every batch.


def main() -> None:
    work = Work.from_args()
    pixels, labels = work.pixels()
    model = keras_model(keras, work)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    batch = work.global_batch_size

    def scaled(loop_pixels, loop_labels):
        images = tf.cast(loop_pixels, tf.float32) / 255
        return (
            tf.reshape(images, [_STEPS_PER_LOOP, batch, 784]),
            tf.reshape(loop_labels, [_STEPS_PER_LOOP, batch]),
        )

    @tf.function(jit_compile=True)
    def train_loop(images, labels):
        total = 0.0
        for i in tf.range(_STEPS_PER_LOOP):
            with tf.GradientTape() as tape:
                loss = loss_fn(labels[i], model(images[i], training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            total += loss
        return total

    def train(first_step: int, end_step: int) -> float:
        part = slice(first_step * batch, end_step * batch)
        dataset = tf.data.Dataset.from_tensor_slices((pixels[part], labels[part]))
        dataset = dataset.batch(_STEPS_PER_LOOP * batch, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.map(scaled, num_parallel_calls=tf.data.AUTOTUNE)
        losses = [train_loop(*loop) for loop in dataset.prefetch(tf.data.AUTOTUNE)]
        return float(tf.add_n(losses)) / (end_step - first_step)

    report(work, train)


if __name__ == "__main__":
    main()
