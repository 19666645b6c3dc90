"""ParameterServerStrategy with a ClusterCoordinator, as TensorFlow's tutorial on it has it.

A worker takes its batches from a data set of its own, and the optimizer applies the gradients within
the closure. Keras 2, as Keras 3 does without this strategy. Each worker has the whole data set,
shuffled in its own order, as in the tutorial. Its options, which `python -m benchmarks.ways
tf_keras_servers` tries: the steps in a closure, as the tutorial advises (1, 10, 58), and batches that
are `cached` before they are shuffled and repeated. `net`: one of `benchmarks/recipes/nets.py` in place
of the dense one.
"""

import os

import tensorflow as tf
import tf_keras

from benchmarks.peers.keras_model import keras_model
from benchmarks.recipes import nets
from benchmarks.work import Work, options, report


def main() -> None:
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if resolver.task_type in ("worker", "ps"):
        server = tf.distribute.Server(
            resolver.cluster_spec(),
            job_name=resolver.task_type,
            task_index=resolver.task_id,
            protocol=resolver.rpc_layer or "grpc",
        )
        server.join()
    coordinate(Work.from_args(), resolver)


def coordinate(work: Work, resolver) -> None:
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    way = options(steps_per_call=1, cached=False, net="")
    images, labels = work.in_order()
    with strategy.scope():
        model = nets.build(tf_keras, way.net, (784,)) if way.net else keras_model(tf_keras, work)
        optimizer = tf_keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)
        mean_loss = tf_keras.metrics.Mean()
    loss_fn = tf_keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=tf_keras.losses.Reduction.NONE
    )

    @tf.function
    def step_fn(iterator):
        def replica_fn(batch_images, batch_labels):
            with tf.GradientTape() as tape:
                losses = loss_fn(batch_labels, model(batch_images, training=True))
                loss = tf.nn.compute_average_loss(losses)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            mean_loss.update_state(losses)

        for _ in tf.range(way.steps_per_call) if way.steps_per_call > 1 else range(1):
            strategy.run(replica_fn, args=next(iterator))

    def dataset_fn(context):
        dataset = tf.data.Dataset.from_tensor_slices((images, labels))
        dataset = dataset.cache() if way.cached else dataset
        dataset = dataset.shuffle(work.num_examples, seed=context.input_pipeline_id).repeat()
        return dataset.batch(work.global_batch_size).prefetch(tf.data.AUTOTUNE)

    @tf.function
    def per_worker_dataset_fn():
        return strategy.distribute_datasets_from_function(dataset_fn)

    iterator = iter(coordinator.create_per_worker_dataset(per_worker_dataset_fn))

    def train(first_step: int, end_step: int) -> float:
        mean_loss.reset_states()
        for _ in range(first_step, end_step, way.steps_per_call):
            coordinator.schedule(step_fn, args=(iterator,))
        coordinator.join()
        return float(mean_loss.result())

    report(work, train)
    os._exit(0)  # Without it TensorFlow waits for servers, which serve for ever.


if __name__ == "__main__":
    main()
