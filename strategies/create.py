"""Which class runs a strategy?

`create` makes the runtime of a `Choice`. A new strategy is a new file, and its function and row here.
"""

from collections.abc import Callable

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.rendezvous.membership import Membership
from strategies.runtime import Runtime

# Each imports its module only when it is chosen: TensorFlow comes with it.


def _mirrored() -> type[Runtime]:
    from strategies.mirrored import MirroredRuntime

    return MirroredRuntime


def _multi_worker() -> type[Runtime]:
    from strategies.multi_worker import MultiWorkerRuntime

    return MultiWorkerRuntime


def _multi_worker_mirrored() -> type[Runtime]:
    from strategies.multi_worker_mirrored import MultiWorkerMirroredRuntime

    return MultiWorkerMirroredRuntime


def _parameter_server() -> type[Runtime]:
    from strategies.parameter_server.runtime import ParameterServerRuntime

    return ParameterServerRuntime


def _tpu() -> type[Runtime]:
    from strategies.tpu.runtime import TpuRuntime

    return TpuRuntime


_RUNTIMES: dict[tuple[str, str], Callable[[], type[Runtime]]] = {  # By strategy and transport.
    ("mirrored", ""): _mirrored,
    ("multi_worker", "direct"): _multi_worker,
    ("multi_worker", "tensorflow"): _multi_worker_mirrored,
    ("parameter_server", ""): _parameter_server,
    ("tpu", ""): _tpu,
}


def create(
    choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None = None
) -> Runtime:
    """The runtime of a choice, on these local devices.

    It may start TensorFlow's servers or connect to the `peers`, so do the roll call first.

    Args:
      choice: the strategy and, between workers, the transport.
      cluster: the tasks of the run, and which of them this process is.
      devices: names from `devices.for_strategy.local_devices`; a TPU takes an empty list.
      peers: the other tasks; None for a single task.

    Raises:
      ClusterError: the TPU cannot be used, or this task cannot listen on its own address.
      Resumable: a peer did not connect in time, or the TPU is not ready.
    """
    return _RUNTIMES[choice.strategy, choice.transport]().create(choice, cluster, devices, peers)
