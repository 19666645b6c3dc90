"""How is a TPU reached and made ready?

TensorFlow connects to an address where nobody listens for many minutes, without a word. So every address
has to take a connection first; for a TPU that has a name, those that the Cloud TPU API gives.
"""

import re
from typing import Any

import tensorflow as tf

from strategies.errors import Resumable
from strategies.tpu_preflight import answers, tpu_error

_NOT_READY = re.compile(r'state: "(\w+)"')


def connect(tpu: str, **api: Any) -> tf.distribute.TPUStrategy:
    """The strategy over all cores of a TPU, which is initialised.

    Args:
      tpu: as `preflight` takes it, which was asked before.
      **api: of `TPUClusterResolver`; how the Cloud TPU API is reached, where not as usual.

    Raises:
      ClusterError: no such TPU, or none that can be used.
      Resumable: the TPU exists and is not ready, as after a preemption.
    """
    resolver = _resolver(tpu, api)
    try:
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except tf.errors.OpError as error:
        problem = f"could not be initialised ({type(error).__name__})"
        raise tpu_error(tpu, problem, "end whoever else uses it, or restart the TPU VM") from error
    if not tf.config.list_logical_devices("TPU"):
        problem = "was initialised, and no TPU device is there"
        raise tpu_error(tpu, problem, "restart the TPU VM")
    return tf.distribute.TPUStrategy(resolver)


def _resolver(tpu: str, api: dict[str, Any]):
    """The resolver of a TPU, all of whose addresses answer."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu, **api)
        jobs = resolver.cluster_spec().as_dict()
    except (ValueError, RuntimeError, OSError) as error:  # OSError: no metadata server to be asked.
        raise _unresolved(tpu, str(error)) from None
    for addresses in jobs.values():
        for address in addresses:
            answers(tpu, address)
    return resolver


def _unresolved(tpu: str, problem: str) -> Exception:
    if state := _NOT_READY.search(problem):
        return Resumable(
            f"the TPU {tpu!r} is {state[1]}, not READY; wait until it is, or create it again, and run "
            "the same command again"
        )
    return tpu_error(
        tpu, f"names a TPU that the Cloud TPU API does not know ({problem})", "correct the name"
    )
