"""How is a TPU reached and made ready?

TensorFlow connects to an address where nobody listens for many minutes, without a word. So every address
has to take a connection first. Those of a TPU that has a name are asked for once, with a deadline, of
Google Cloud: TensorFlow would ask again and again, and wait for an answer without end.

A slice of several hosts is reached from one of them, or from outside, as one TPU: its hosts run
TensorFlow's servers, and this process, their one client, makes the first of them its default device.
What comes with a call, indices or streamed examples, goes there and on to the hosts of the other cores;
what is resident, and the state, goes to each core once.
"""

import queue
import re
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from strategies.errors import Resumable
from strategies.tpu.preflight import answers, tpu_error

_NOT_READY = re.compile(r'state: "(\w+)"')
_GRPC = "grpc://"


def connect(tpu: str, timeout_s: float, **api: Any) -> tf.distribute.TPUStrategy:
    """The strategy over all cores of a TPU, which is initialised.

    Args:
      tpu: as `preflight` takes it, which was asked before.
      timeout_s: how long to wait for the addresses of a TPU that has a name.
      **api: of `TPUClusterResolver`; how the Cloud TPU API is reached, where not as usual.

    Raises:
      ClusterError: no such TPU, or none that can be used.
      Resumable: the TPU exists and is not ready, as after a preemption, or nobody told of it in time.
    """
    resolver = _resolver(tpu, timeout_s, api)
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


def _resolver(tpu: str, timeout_s: float, api: dict[str, Any]):
    """The resolver of a TPU, all of whose addresses answer. It asks nobody any more."""
    if tpu == "local":
        return tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
    addresses = tpu.split(",") if tpu.startswith(_GRPC) else _found(tpu, timeout_s, api)
    for address in addresses:
        answers(tpu, address.removeprefix(_GRPC))
    return tf.distribute.cluster_resolver.TPUClusterResolver(tpu=",".join(addresses))


def _found(tpu: str, timeout_s: float, api: dict[str, Any]) -> list[str]:
    """The addresses of a TPU that has a name, each as grpc://host:port."""

    def ask() -> list[str]:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu, **api)
        return [_GRPC + address for address in resolver.cluster_spec().job_tasks("worker")]

    try:
        return _within(timeout_s, ask)
    except queue.Empty:
        raise Resumable(
            "`--tpu` names a TPU that Google Cloud told nothing of within --startup_timeout_s="
            f"{timeout_s:g} s. Received: {tpu!r}; see whether this machine reaches its metadata server "
            "and tpu.googleapis.com, or give the TPU's addresses as in grpc://10.0.0.2:8470, and run "
            "again"
        ) from None
    except Exception as error:  # The clients of that API have errors of their own.
        raise _unresolved(tpu, f"{error}") from None


def _within(timeout_s: float, ask: Callable[[], Any]) -> Any:
    """What `ask` returns or raises. Raises queue.Empty where it does neither in time.

    By another thread, which is left waiting: the look-ups of names of hosts cannot be interrupted.
    """
    ends = queue.SimpleQueue()

    def run() -> None:
        try:
            ends.put((ask(), None))
        except Exception as error:
            ends.put((None, error))

    threading.Thread(target=run, name="tpu", daemon=True).start()
    found, error = ends.get(timeout=timeout_s)
    if error:
        raise error
    return found


def _unresolved(tpu: str, problem: str) -> Exception:
    if state := _NOT_READY.search(problem):
        return Resumable(
            f"the TPU {tpu!r} is {state[1]}, not READY; wait until it is, or create it again, and run "
            "the same command again"
        )
    return tpu_error(
        tpu,
        f"names a TPU that the Cloud TPU API did not tell of ({problem})",
        "correct the name, or give this machine's service account the role tpu.viewer",
    )
