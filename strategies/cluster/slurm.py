"""Which cluster are the tasks of this step of Slurm?

`srun` with several tasks starts each with the same list of nodes and its own number among the tasks.
TensorFlow's SlurmClusterResolver reads the same variables to the same addresses. It is not used, as it
needs TensorFlow and nvidia-smi before a wrong start can be told, and takes nodes in the order of the
alphabet, where n10 comes before n9: Slurm numbers the tasks in the order of its own list.
"""

import re
from collections.abc import Mapping, Sequence

from strategies.cluster import hostlist
from strategies.errors import ClusterError

PLACE = "Slurm"
_NUM_TASKS = "SLURM_STEP_NUM_TASKS"
_WHOLE = "SLURM_JOB_NUM_NODES", "SLURM_NTASKS"
_RANK, _LOCAL = "SLURM_PROCID", "SLURM_LOCALID"
_NODES, _PER_NODE = "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"
_ORDER = "SLURM_DISTRIBUTION"
_GPUS = "SLURM_GPUS_ON_NODE"  # Those of the step here, whichever of them this task sees.
_JOB, _STEP, _PORTS = "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_RESV_PORTS"
# Below the ports that systems give to outgoing connections, and far enough apart for the tasks of a node.
_FIRST_PORT, _PORTS_EACH, _SHARES = 10_000, 128, 170


def is_step(environ: Mapping[str, str]) -> bool:
    """Whether this process is one of several tasks of a step. A batch script itself is none."""
    return environ.get(_NUM_TASKS, "").strip() not in ("", "0", "1") and _RANK in environ


def is_unused(environ: Mapping[str, str]) -> bool:
    """Whether a job has several nodes or tasks, and this process stands beside its steps."""
    has_more = any(environ.get(name, "").strip() not in ("", "0", "1") for name in _WHOLE)
    return has_more and _NUM_TASKS not in environ


def addresses(environ: Mapping[str, str]) -> tuple[list[str], int]:
    """The address of every task of the step in the order of their numbers, and this one's number.

    Raises:
      ClusterError: the variables contradict each other, or tasks are numbered across the nodes.
    """
    rank, total = _number(environ, _RANK), _number(environ, _NUM_TASKS)
    nodes, counts = _nodes(environ), _tasks_per_node(environ)
    if len(nodes) != len(counts) or sum(counts) != total or rank >= total:
        raise _error(
            f"`{_NODES}`, `{_PER_NODE}`, `{_NUM_TASKS}` and `{_RANK}` must agree",
            [environ[name] for name in (_NODES, _PER_NODE, _NUM_TASKS, _RANK)],
            "set them as srun does, or give --cluster",
        )
    seats = [
        (node, seat) for node, count in zip(nodes, counts, strict=True) for seat in range(count)
    ]
    _check_order(environ, seats[rank][1], len(nodes) > 1 and max(counts) > 1)
    ports = _ports(environ, max(counts))
    return [f"{node}:{ports[seat]}" for node, seat in seats], rank


def own_gpus(environ: Mapping[str, str], gpus: Sequence[str]) -> Sequence[str]:
    """Those of the GPUs it sees that this task has to itself, shared out as by TensorFlow's resolver.

    All of them where Slurm has bound some to each task, and where there are fewer than tasks on a node.

    Raises:
      ClusterError: the variables are not as in a step.
    """
    each = len(gpus) // max(_tasks_per_node(environ))
    if not each or environ.get(_GPUS, str(len(gpus))) != str(len(gpus)):
        return gpus
    first = _number(environ, _LOCAL) * each
    return gpus[first : first + each]


def _check_order(environ: Mapping[str, str], seat: int, matters: bool) -> None:
    """Tasks dealt out over the nodes in turn are refused by all, though some come to the same seat."""
    dealt = matters and environ.get(_ORDER, "").partition(":")[0] not in ("", "block")
    if dealt or _number(environ, _LOCAL) != seat:
        raise _error(
            "tasks must be numbered node by node",
            environ[_ORDER] if dealt else f"{_LOCAL}={environ[_LOCAL]} where {seat} is due",
            "give srun --distribution=block",
        )


def _nodes(environ: Mapping[str, str]) -> list[str]:
    text = _text(environ, _NODES)
    try:
        return hostlist.expand(text)
    except ValueError as error:
        raise _error(
            f"`{_NODES}` must list the nodes ({error})", text, "give --cluster instead"
        ) from None


def _tasks_per_node(environ: Mapping[str, str]) -> list[int]:
    """[2, 2, 1] of "2(x2),1"."""
    counts: list[int] = []
    for part in _text(environ, _PER_NODE).split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:\(x([0-9]{1,5})\))?", part)
        if not match:
            raise _error(
                f"`{_PER_NODE}` must count the tasks", environ[_PER_NODE], "give --cluster instead"
            )
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _ports(environ: Mapping[str, str], count: int) -> list[int]:
    """The ports of a node's tasks: those that Slurm reserved, or such as follow from the step's number.

    Two steps on one node rarely follow to the same; then the later one says that its port is taken.
    """
    if environ.get(_PORTS):
        return _reserved(environ, count)
    share = (_number(environ, _JOB) + 61 * (_number(environ, _STEP) % 1000)) % _SHARES
    first = _FIRST_PORT + share * _PORTS_EACH
    return list(range(first, first + count))


def _reserved(environ: Mapping[str, str], count: int) -> list[int]:
    try:
        ports = [int(port) for port in hostlist.expand(f"[{environ[_PORTS]}]")]
    except ValueError:
        ports = []
    if len(ports) < count:
        raise _error(
            f"`{_PORTS}` must be a port for each of the {count} tasks of a node",
            environ[_PORTS],
            f"give srun --resv-ports={count}",
        )
    return ports


def _text(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise _error(f"`{name}` is missing", "none", "start with srun, or give --cluster")
    return environ[name]


def _number(environ: Mapping[str, str], name: str) -> int:
    text = _text(environ, name)
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise _error(f"`{name}` must be a number", text, "set it as srun does, or give --cluster")
    return int(text)


def _error(problem: str, received: object, way_out: str) -> ClusterError:
    alone = "set TF_CONFIG={} to train alone"
    return ClusterError(f"{PLACE}: {problem}. Received: {received!r}; {way_out}, or {alone}.")
