"""Keras 2 `fit` under MultiWorkerMirroredStrategy, as TensorFlow's guide has it.

Keras 2, because Keras 3 does not train under that strategy. Each worker feeds its slice of every batch.
Many steps run in one execution. `jit_compile=True` has not been tried here.
"""

import tensorflow as tf
import tf_keras

from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, report


def main() -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    work = Work.from_args()
    rank, num_ranks = strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync
    images, labels = work.in_order(rank, num_ranks)
    batch = work.global_batch_size // num_ranks
    with strategy.scope():
        model = keras_model(tf_keras, work)
        model.compile(
            optimizer=tf_keras.optimizers.Adam(),
            loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            steps_per_execution=min(50, work.warm_up),
        )

    def train(first_step: int, end_step: int) -> float:
        def dataset_fn(_context):
            part = slice(first_step * batch, end_step * batch)
            dataset = tf.data.Dataset.from_tensor_slices((images[part], labels[part]))
            return dataset.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

        dataset = strategy.distribute_datasets_from_function(dataset_fn)
        steps = end_step - first_step
        return model.fit(dataset, steps_per_epoch=steps, verbose=0).history["loss"][0]

    report(work, train)


if __name__ == "__main__":
    main()
