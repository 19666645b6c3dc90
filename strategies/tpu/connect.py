"""How is a TPU found, connected to and initialised?

`connect` does so with a deadline and an error that names the cause. TensorFlow would try for many minutes
to connect to an address without a server, and log nothing, so every address must accept a connection
first. The addresses of a named TPU are requested from Google Cloud once: TensorFlow would retry, and wait
for an answer forever.

A slice of several hosts is used from one of them, or from outside, as one TPU: its hosts run TensorFlow's
servers, and this process, their only client, makes the first of them its default device. The arguments of
a call, indices or streamed examples, are sent there, and from there to the hosts of the other cores;
resident data and the state are sent to each core once.
"""

import queue
import re
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from strategies.errors import Resumable
from strategies.tpu.preflight import check_answers, tpu_error

_NOT_READY = re.compile(r'state: "(\w+)"')
_GRPC = "grpc://"


def connect(tpu: str, timeout_s: float, **api: Any) -> tf.distribute.TPUStrategy:
    """The strategy over all cores of a TPU, after initialising it.

    Args:
      tpu: as for `preflight`, which has checked it.
      timeout_s: how long to wait for the addresses of a named TPU.
      **api: arguments of `TPUClusterResolver` for reaching the Cloud TPU API in an unusual way.

    Raises:
      ClusterError: there is no such TPU, or it cannot be used.
      Resumable: the TPU is not ready, as after a preemption, or Google Cloud did not answer in time.
    """
    resolver = _resolver(tpu, timeout_s, api)
    try:
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except tf.errors.OpError as error:
        problem = f"could not be initialised ({type(error).__name__})"
        raise tpu_error(
            tpu, problem, "end the process that uses it, or restart the TPU VM"
        ) from error
    if not tf.config.list_logical_devices("TPU"):
        problem = "was initialised, but TensorFlow lists no TPU device"
        raise tpu_error(tpu, problem, "restart the TPU VM")
    return tf.distribute.TPUStrategy(resolver)


def _resolver(tpu: str, timeout_s: float, api: dict[str, Any]):
    """A resolver with the TPU's addresses, all of which answer. It sends no more requests."""
    if tpu == "local":
        return tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
    addresses = tpu.split(",") if tpu.startswith(_GRPC) else _look_up(tpu, timeout_s, api)
    for address in addresses:
        check_answers(tpu, address.removeprefix(_GRPC))
    return tf.distribute.cluster_resolver.TPUClusterResolver(tpu=",".join(addresses))


def _look_up(tpu: str, timeout_s: float, api: dict[str, Any]) -> list[str]:
    """The addresses of a named TPU, each as grpc://host:port."""

    def ask() -> list[str]:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu, **api)
        return [_GRPC + address for address in resolver.cluster_spec().job_tasks("worker")]

    try:
        return _within(timeout_s, ask)
    except queue.Empty:
        raise Resumable(
            "`--tpu` names a TPU, but Google Cloud gave no answer within --startup_timeout_s="
            f"{timeout_s:g} s. Received: {tpu!r}; check that this machine reaches its metadata server "
            "and tpu.googleapis.com, or give the TPU's addresses as in grpc://10.0.0.2:8470, and run "
            "the same command again"
        ) from None
    except Exception as error:  # The API's clients define their own errors.
        raise _lookup_error(tpu, f"{error}") from None


def _within(timeout_s: float, ask: Callable[[], Any]) -> Any:
    """What `ask` returns or raises. Raises queue.Empty where it does neither in time.

    It runs in another thread, which may be left behind: host name look-ups cannot be interrupted.
    """
    results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((ask(), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=run, name="tpu", daemon=True).start()
    found, error = results.get(timeout=timeout_s)
    if error:
        raise error
    return found


def _lookup_error(tpu: str, problem: str) -> Exception:
    if state := _NOT_READY.search(problem):
        return Resumable(
            f"the TPU {tpu!r} is {state[1]}, not READY; wait until it is, or create it again, and run "
            "the same command again"
        )
    return tpu_error(
        tpu,
        f"names a TPU that the Cloud TPU API could not look up ({problem})",
        "correct the name, or give this machine's service account the role tpu.viewer",
    )
