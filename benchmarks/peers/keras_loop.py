"""A plain Keras training loop, as its guide writes it: a `tf.function` step over a tf.data pipeline."""

import keras
import tensorflow as tf

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report


def main() -> None:
    work = Work.from_args()
    images, labels = work.in_order()
    model = keras_model(keras, work)
    optimizer = keras.optimizers.Adam()
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    mean_loss = keras.metrics.Mean()

    @tf.function(jit_compile=True)
    def train_step(batch_images, batch_labels):
        with tf.GradientTape() as tape:
            loss = loss_fn(batch_labels, model(batch_images, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        mean_loss.update_state(loss)

    def train(first_step: int, end_step: int) -> float:
        part = slice(first_step * work.global_batch_size, end_step * work.global_batch_size)
        dataset = tf.data.Dataset.from_tensor_slices((images[part], labels[part]))
        dataset = dataset.batch(work.global_batch_size, drop_remainder=True).prefetch(
            tf.data.AUTOTUNE
        )
        mean_loss.reset_state()
        for batch_images, batch_labels in dataset:
            train_step(batch_images, batch_labels)
        return float(mean_loss.result())

    optimizer.build(model.trainable_weights)
    report(work, train)


if __name__ == "__main__":
    main()
