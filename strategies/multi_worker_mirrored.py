"""How do workers train together through TensorFlow's own collectives?

As the devices of one machine do (`mirrored.py`), but the all-reduce crosses the network: by NCCL between
GPUs, by gRPC between CPUs. Each process feeds its own replicas, and reading the state is local, since all
copies are equal.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.errors import ClusterError
from strategies.mirrored import MirroredRuntime
from strategies.rendezvous.membership import Membership


class MultiWorkerMirroredRuntime(MirroredRuntime):
    """Synchronous data parallelism over the chief and workers of a cluster."""

    name = "multi_worker"

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "MultiWorkerMirroredRuntime":
        del peers  # TensorFlow makes its own connections.
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster.as_dict()),
            task_type=cluster.task.type,
            task_id=cluster.task.index,
            num_accelerators={} if devices[0].startswith("CPU") else {"GPU": len(devices)},
            rpc_layer="grpc",
        )
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        except RuntimeError as error:
            if "program startup" not in str(error):
                raise
            raise ClusterError(
                "`--transport=tensorflow` must be set up before TensorFlow computes anything. Received: "
                "a recipe that computes with it at its top or in `get_data`; use NumPy there."
            ) from None
        return cls(choice.reason, strategy, cluster.process_index * len(devices))

    def broadcast(self, values: Any) -> Any:
        arrays = [np.asarray(value) for value in tf.nest.flatten(values)]
        payload = b"".join(array.tobytes() for array in arrays)
        words = np.frombuffer(payload + bytes(-len(payload) % 4), np.int32)
        is_leader = self.local_replicas.start == 0
        # As integers, and zeros from everyone else: the sum is the leader's, bit for bit.
        shared = self._sum_over_tasks(words if is_leader else np.zeros_like(words))
        parts = np.split(
            np.frombuffer(shared.tobytes()[: len(payload)], np.uint8),
            np.cumsum([array.nbytes for array in arrays])[:-1],
        )
        arrays = [
            part.view(array.dtype).reshape(array.shape)
            for part, array in zip(parts, arrays, strict=True)
        ]
        return tf.nest.pack_sequence_as(values, arrays)

    def _sum_over_tasks(self, words: np.ndarray) -> np.ndarray:
        """int32 [n]: the sum over all tasks; a task's other replicas than its first add zeros."""

        def add(value):
            context = tf.distribute.get_replica_context()
            with tf.device(self.device_of(context)):
                value = tf.identity(value)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, value)

        @tf.function(autograph=False)
        def total(values):
            return self.strategy.run(add, args=(values,))

        mine = [words] + [np.zeros_like(words)] * (len(self.devices) - 1)
        summed = total(self.per_device(tuple(mine)))
        return self.strategy.experimental_local_results(summed)[0].numpy()
