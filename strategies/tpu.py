"""How do the cores of a TPU train together?

As the devices of one machine do. That there is a TPU was asked before, in `tpu_preflight.py`.
"""

from strategies.choose import Choice
from strategies.cluster import ClusterSpec
from strategies.membership import Membership
from strategies.mirrored import MirroredRuntime
from strategies.tpu_preflight import tpu_error


class TpuRuntime(MirroredRuntime):
    """Synchronous data parallelism over TPU cores."""

    name = "tpu"

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "TpuRuntime":
        del cluster, devices, peers  # Alone, and its devices are its own.
        import tensorflow as tf

        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=choice.tpu)
        if choice.tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        if not tf.config.list_logical_devices("TPU"):
            raise tpu_error(
                choice.tpu, "initialised, and no TPU device is there", "restart the TPU VM"
            )
        return cls(choice.reason, tf.distribute.TPUStrategy(resolver))
