"""Model Garden's Orbit: its StandardTrainer and Controller, as Model Garden's own trainers use them.

The step is compiled, and Orbit's loop over an epoch's steps stays in the graph. It installs with the
whole of Model Garden, whose last version asks for TensorFlow 2.20 and Keras 2.
"""

import orbit
import tensorflow as tf
import tf_keras

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report


class Trainer(orbit.StandardTrainer):
    """Counts its steps in `step`, and keeps the mean loss of each of the Controller's loops."""

    def __init__(self, work: Work):
        dataset = tf.data.Dataset.from_tensor_slices(work.in_order())
        dataset = dataset.batch(work.global_batch_size, drop_remainder=True)
        # `report` repeats the epochs after the first.
        dataset = dataset.concatenate(dataset.skip(work.warm_up).repeat())
        options = orbit.StandardTrainerOptions(use_tf_while_loop=True, use_tf_function=True)
        super().__init__(dataset.prefetch(tf.data.AUTOTUNE), options)
        self.step = tf.Variable(0, dtype=tf.int64)
        self.losses: list[float] = []
        self._model = keras_model(tf_keras, work)
        self._optimizer = tf_keras.optimizers.Adam()
        self._optimizer.build(self._model.trainable_variables)
        self._loss_fn = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._mean_loss = tf_keras.metrics.Mean()

    def train_loop_begin(self):
        self._mean_loss.reset_state()

    def train_step(self, iterator):
        self._compiled_step(*next(iterator))
        self.step.assign_add(1)

    @tf.function(jit_compile=True)
    def _compiled_step(self, images, labels):
        with tf.GradientTape() as tape:
            loss = self._loss_fn(labels, self._model(images, training=True))
        weights = self._model.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self._mean_loss.update_state(loss)

    def train_loop_end(self):
        self.losses.append(float(self._mean_loss.result()))
        return {"loss": self.losses[-1]}


def main() -> None:
    work = Work.from_args()
    trainer = Trainer(work)
    controller = orbit.Controller(
        global_step=trainer.step, trainer=trainer, steps_per_loop=work.warm_up
    )

    def train(first_step: int, end_step: int) -> float:
        trainer.losses.clear()
        controller.train(int(trainer.step.numpy()) + end_step - first_step)
        return sum(trainer.losses) / len(trainer.losses)

    report(work, train)


if __name__ == "__main__":
    main()
