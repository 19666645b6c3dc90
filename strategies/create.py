"""Which class runs a strategy?

`create` makes the runtime of a `Choice`. A new strategy is a new file, and its function and row here.
Where replicas train apart, one runtime carries them, on one machine or on workers; and one where workers
hold parts of the model, or of the optimizer's slots.
"""

from collections.abc import Callable

from strategies import weight_pieces
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


def _sharded_multi_worker() -> type[Runtime]:
    from strategies.sharded_multi_worker import ShardedMultiWorkerRuntime

    return ShardedMultiWorkerRuntime


def _multi_worker_mirrored() -> type[Runtime]:
    from strategies.multi_worker_mirrored import MultiWorkerMirroredRuntime

    return MultiWorkerMirroredRuntime


def _parameter_server() -> type[Runtime]:
    from strategies.parameter_server.runtime import ParameterServerRuntime

    return ParameterServerRuntime


def _tpu() -> type[Runtime]:
    from strategies.tpu.runtime import TpuRuntime

    return TpuRuntime


def _mesh() -> type[Runtime]:
    from strategies.mesh.runtime import MeshRuntime

    return MeshRuntime


def _apart() -> type[Runtime]:
    from strategies.apart.runtime import ApartRuntime

    return ApartRuntime


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
    if choice.mesh:
        found = _mesh
    elif choice.agreement.trains_apart:
        found = _apart
    elif weight_pieces.num_holders(choice, cluster) > 1:
        found = _sharded_multi_worker
    else:
        found = _RUNTIMES[choice.strategy, choice.transport]
    return found().create(choice, cluster, devices, peers)
