"""Which devices of this machine hold replicas?"""

import os

import tensorflow as tf

from strategies.devices.malloc import keep_freed_memory
from strategies.devices.threads import wanted
from strategies.errors import ClusterError

_LEAST_AT_ONCE = 4  # Operations of a server.


def local_devices(count: int = 0) -> list[str]:
    """The device of each replica: the first `count` GPUs, else the CPU so many times.

    `count` 0 means every GPU, or the CPU once. Must come before anything else makes TensorFlow look
    at its devices.

    Raises:
      ClusterError: more GPUs were asked for than there are.
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
    """The CPU, as a task of a parameter-server cluster takes it: its server finds GPUs itself."""
    keep_freed_memory()
    # With one, as TensorFlow takes on one core, an operation that waits for another waits for ever.
    # Of the ways to say it a server knows only this one.
    if wanted("TF_NUM_INTEROP_THREADS", os.environ) < _LEAST_AT_ONCE:
        os.environ["TF_NUM_INTEROP_THREADS"] = str(_LEAST_AT_ONCE)
    tf.config.list_physical_devices()  # Here and now, while what TensorFlow says of them is held back.
    return ["CPU:0"]
