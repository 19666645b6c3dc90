"""Keras 2 `fit` under MultiWorkerMirroredStrategy, as TensorFlow's guide has it.

Keras 2, because Keras 3 does not train under that strategy. Each worker feeds its slice of every batch.
Its options, which `python -m benchmarks.ways tf_keras_workers` tries: the steps in an execution,
`jit_compile`, and batches that are `cached`. `net`: one of `benchmarks/recipes/nets.py` in place of the
dense one.
"""

import tensorflow as tf
import tf_keras

from benchmarks.peers.keras_model import keras_model
from benchmarks.recipes import nets
from benchmarks.work import Work, options, report


def main() -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    work = Work.from_args()
    way = options(steps_per_execution=50, jit_compile=False, cached=False, net="")
    rank, num_ranks = strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync
    images, labels = work.in_order(rank, num_ranks)
    batch = work.global_batch_size // num_ranks
    with strategy.scope():
        if way.net:
            tf_keras.utils.set_random_seed(0)
        model = nets.build(tf_keras, way.net, (784,)) if way.net else keras_model(tf_keras, work)
        model.compile(
            optimizer=tf_keras.optimizers.Adam(),
            loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            steps_per_execution=min(way.steps_per_execution, work.warm_up),
            jit_compile=way.jit_compile,
        )

    def train(first_step: int, end_step: int) -> float:
        def dataset_fn(_context):
            part = slice(first_step * batch, end_step * batch)
            dataset = tf.data.Dataset.from_tensor_slices((images[part], labels[part]))
            dataset = dataset.batch(batch, drop_remainder=True)
            return (dataset.cache() if way.cached else dataset).prefetch(tf.data.AUTOTUNE)

        dataset = strategy.distribute_datasets_from_function(dataset_fn)
        steps = end_step - first_step
        return model.fit(dataset, steps_per_epoch=steps, verbose=0).history["loss"][0]

    report(work, train)


if __name__ == "__main__":
    main()
