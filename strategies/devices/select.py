"""Which devices of this machine hold replicas?

Its GPUs; without any, its CPU. Parameter servers' tasks use the CPU.
"""

import os

import tensorflow as tf

from strategies.devices.malloc import keep_freed_memory
from strategies.devices.threads import wanted
from strategies.errors import ClusterError

_MIN_INTEROP_THREADS = 4  # Of a server.


def local_devices(count: int = 0) -> list[str]:
    """The device of each local replica: `count` GPUs, or on a machine without GPUs the CPU `count` times.

    Call it before TensorFlow lists its devices for any other reason.

    Args:
      count: the flag `--devices`; 0 means every GPU, or the CPU once.

    Raises:
      ClusterError: `count` is larger than the number of GPUs.
    """
    keep_freed_memory()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return ["CPU:0"] * max(count, 1)
    if count > len(gpus):
        raise ClusterError(
            f"`--devices` must be at most the number of GPUs here. Received: {count} for "
            f"{len(gpus)} GPUs; leave it out to use all, or set CUDA_VISIBLE_DEVICES=-1 to train "
            "on the CPU."
        )
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return [f"GPU:{i}" for i in range(count or len(gpus))]


def server_devices() -> list[str]:
    """The CPU, for a task of a parameter-server cluster: TensorFlow's server finds GPUs itself."""
    keep_freed_memory()
    # With one thread, TensorFlow's default on one core, an operation that waits for another would wait
    # forever. A server reads the number only from this variable.
    if wanted("TF_NUM_INTEROP_THREADS", os.environ) < _MIN_INTEROP_THREADS:
        os.environ["TF_NUM_INTEROP_THREADS"] = str(_MIN_INTEROP_THREADS)
    tf.config.list_physical_devices()  # Now, while what TensorFlow prints about them is hidden.
    return ["CPU:0"]
