"""A plain Keras training loop, as its guide writes it: a `tf.function` step over a tf.data pipeline."""

import keras
import tensorflow as tf

from benchmarks.work import Work, report


def main() -> None:
    work = Work.from_args()
    images, labels = work.in_order()
    model = work.keras_model()
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
        part = slice(first_step * work.batch, end_step * work.batch)
        dataset = tf.data.Dataset.from_tensor_slices((images[part], labels[part]))
        dataset = dataset.batch(work.batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        mean_loss.reset_state()
        for batch_images, batch_labels in dataset:
            train_step(batch_images, batch_labels)
        return float(mean_loss.result())

    optimizer.build(model.trainable_weights)
    report(work, train)


if __name__ == "__main__":
    main()
