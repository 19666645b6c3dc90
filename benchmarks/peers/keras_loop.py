"""A plain Keras training loop, as its guide writes it: a compiled `tf.function` step for each batch.

Its batches are tensors in memory, which was faster than slices of NumPy arrays and than tf.data.
"""

import keras
import tensorflow as tf

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report


def main() -> None:
    work = Work.from_args()
    images, labels = work.in_order()
    batch = work.global_batch_size
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

    batches = [
        (tf.constant(images[first : first + batch]), tf.constant(labels[first : first + batch]))
        for first in range(0, len(labels), batch)
    ]

    def train(first_step: int, end_step: int) -> float:
        mean_loss.reset_state()
        for batch_images, batch_labels in batches[first_step:end_step]:
            train_step(batch_images, batch_labels)
        return float(mean_loss.result())

    optimizer.build(model.trainable_weights)
    report(work, train)


if __name__ == "__main__":
    main()
