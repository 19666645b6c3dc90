"""A plain Keras training loop, as its guide writes it: a compiled `tf.function` step for each batch.

Its options, which `python -m benchmarks.ways keras_loop` tries: batches as `tensors` in memory, as
slices of NumPy `arrays`, or from a `dataset` (tf.data, prefetched); with `jit_compile` and without; and
how many steps a call takes, in a loop of the graph over stacked batches (more than 1 needs
`input=tensors`; `epoch`: all of one). Tensors were the fastest input for a call of one step.
"""

from collections.abc import Iterable

import keras
import tensorflow as tf

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, options, report


def main() -> None:
    work = Work.from_args()
    way = options(input="tensors", jit_compile=True, steps_per_call=1)
    per_call = work.warm_up if way.steps_per_call == "epoch" else way.steps_per_call
    images, labels = work.in_order()
    batch = work.global_batch_size
    model = keras_model(keras, work)
    optimizer = keras.optimizers.Adam()
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    mean_loss = keras.metrics.Mean()

    def step(batch_images, batch_labels):
        with tf.GradientTape() as tape:
            loss = loss_fn(batch_labels, model(batch_images, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        mean_loss.update_state(loss)

    @tf.function(jit_compile=way.jit_compile)
    def train_steps(some_images, some_labels):
        if per_call == 1:
            step(some_images, some_labels)
        else:
            for i in tf.range(per_call):
                step(some_images[i], some_labels[i])

    images = images.reshape(-1, *([per_call] if per_call > 1 else []), batch, 784)
    labels = labels.reshape(images.shape[:-1])
    calls = list(zip(images, labels, strict=True))
    if way.input == "tensors":
        calls = [(tf.constant(one), tf.constant(other)) for one, other in calls]

    def some(first_call: int, end_call: int) -> Iterable:
        if way.input != "dataset":
            return calls[first_call:end_call]
        arrays = images[first_call:end_call], labels[first_call:end_call]
        return tf.data.Dataset.from_tensor_slices(arrays).prefetch(tf.data.AUTOTUNE)

    def train(first_step: int, end_step: int) -> float:
        mean_loss.reset_state()
        for batch_images, batch_labels in some(first_step // per_call, end_step // per_call):
            train_steps(batch_images, batch_labels)
        return float(mean_loss.result())

    optimizer.build(model.trainable_weights)
    report(work, train)


if __name__ == "__main__":
    main()
