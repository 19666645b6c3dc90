"""Which cluster do the tasks of this Slurm step form?

`addresses` computes it from the environment: `srun` gives each task the same list of nodes, and its own
number. TensorFlow's SlurmClusterResolver computes the same addresses, but it is not used here. It needs
TensorFlow and nvidia-smi before it can report an error, and sorts the nodes by name, so that n10 is
before n9, while Slurm numbers the tasks in the order of its own list.
"""

import re
from collections.abc import Mapping, Sequence

from strategies.cluster import alone, hostlist, roles, tf_config
from strategies.cluster.spec import ClusterSpec
from strategies.errors import ClusterError

SOURCE = "Slurm"
_NUM_TASKS = "SLURM_STEP_NUM_TASKS"
_WHOLE = "SLURM_JOB_NUM_NODES", "SLURM_NTASKS"
_RANK, _LOCAL = "SLURM_PROCID", "SLURM_LOCALID"
_NODES, _PER_NODE = "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"
_ORDER = "SLURM_DISTRIBUTION"
_GPUS = "SLURM_GPUS_ON_NODE"  # All of the step on this node, also those that this task cannot see.
_JOB, _STEP, _PORTS = "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_RESV_PORTS"
# Ports below those of outgoing connections, in ranges that are each long enough for the tasks of a node.
_FIRST_PORT, _PORTS_PER_RANGE, _NUM_RANGES = 10_000, 128, 170


def read(environ: Mapping[str, str], ps: int) -> ClusterSpec | None:
    """The cluster; None outside of a step with several tasks. Raises ClusterError."""
    if not is_step(environ):
        return None
    listed, number = addresses(environ)
    jobs = roles.jobs(listed, ps, SOURCE)
    return tf_config.from_dict({"cluster": jobs, "task": roles.task_at(jobs, number)}, SOURCE)


def is_step(environ: Mapping[str, str]) -> bool:
    """Whether this process is one of several tasks of a step. False for the batch script itself."""
    return environ.get(_NUM_TASKS, "").strip() not in ("", "0", "1") and _RANK in environ


def is_unused(environ: Mapping[str, str]) -> bool:
    """Whether the job has several nodes or tasks, and this process is not in one of its steps."""
    has_more = any(environ.get(name, "").strip() not in ("", "0", "1") for name in _WHOLE)
    return has_more and _NUM_TASKS not in environ


def addresses(environ: Mapping[str, str]) -> tuple[list[str], int]:
    """The address, host:port, of every task of the step, by number; and the number of this task.

    Raises:
      ClusterError: the variables contradict each other, or the tasks are not numbered node by node.
    """
    rank, total = _number(environ, _RANK), _number(environ, _NUM_TASKS)
    nodes, counts = _nodes(environ), _tasks_per_node(environ)
    if len(nodes) != len(counts) or sum(counts) != total or rank >= total:
        raise _error(
            f"`{_NODES}`, `{_PER_NODE}`, `{_NUM_TASKS}` and `{_RANK}` must agree",
            [environ[name] for name in (_NODES, _PER_NODE, _NUM_TASKS, _RANK)],
            "set them as srun does, or use --cluster",
        )
    tasks = [
        (node, local) for node, count in zip(nodes, counts, strict=True) for local in range(count)
    ]
    _check_order(environ, tasks[rank][1], len(nodes) > 1 and max(counts) > 1)
    ports = _ports(environ, max(counts))
    return [f"{node}:{ports[local]}" for node, local in tasks], rank


def own_gpus(environ: Mapping[str, str], gpus: Sequence[str]) -> Sequence[str]:
    """The GPUs that this task should use, divided among a node's tasks as TensorFlow's resolver does.

    All of them where Slurm has already bound GPUs to each task, or a node has fewer GPUs than tasks.
    `gpus` are those that this task sees.

    Raises:
      ClusterError: a variable of the step is missing or invalid.
    """
    each = len(gpus) // max(_tasks_per_node(environ))
    if not each or environ.get(_GPUS, str(len(gpus))) != str(len(gpus)):
        return gpus
    first = _number(environ, _LOCAL) * each
    return gpus[first : first + each]


def _check_order(environ: Mapping[str, str], local: int, matters: bool) -> None:
    """Checks that tasks are numbered node by node, from the distribution where it matters.

    With another distribution some tasks have the expected local number, and those must fail too.
    """
    other = matters and environ.get(_ORDER, "").partition(":")[0] not in ("", "block")
    if other or _number(environ, _LOCAL) != local:
        raise _error(
            "tasks must be numbered node by node",
            environ[_ORDER] if other else f"{_LOCAL}={environ[_LOCAL]}, expected {local}",
            "use srun --distribution=block",
        )


def _nodes(environ: Mapping[str, str]) -> list[str]:
    text = _text(environ, _NODES)
    try:
        return hostlist.expand(text)
    except ValueError as error:
        raise _error(
            f"`{_NODES}` must list the nodes ({error})", text, "use --cluster instead"
        ) from None


def _tasks_per_node(environ: Mapping[str, str]) -> list[int]:
    """[2, 2, 1] of "2(x2),1"."""
    counts: list[int] = []
    for part in _text(environ, _PER_NODE).split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:\(x([0-9]{1,5})\))?", part)
        if not match:
            raise _error(
                f"`{_PER_NODE}` must count the tasks", environ[_PER_NODE], "use --cluster instead"
            )
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _ports(environ: Mapping[str, str], count: int) -> list[int]:
    """The ports of a node's tasks: those that Slurm reserved, or ports computed from the step's number.

    Two steps on one node rarely get the same ports. Then the later one fails, as its port is in use.
    """
    if environ.get(_PORTS):
        return _reserved(environ, count)
    index = (_number(environ, _JOB) + 61 * (_number(environ, _STEP) % 1000)) % _NUM_RANGES
    first = _FIRST_PORT + index * _PORTS_PER_RANGE
    return list(range(first, first + count))


def _reserved(environ: Mapping[str, str], count: int) -> list[int]:
    try:
        ports = [int(port) for port in hostlist.expand(f"[{environ[_PORTS]}]")]
    except ValueError:
        ports = []
    if len(ports) < count:
        raise _error(
            f"`{_PORTS}` must have a port for each of the {count} tasks of a node",
            environ[_PORTS],
            f"use srun --resv-ports={count}",
        )
    return ports


def _text(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise _error(f"`{name}` is missing", "none", "start with srun, or use --cluster")
    return environ[name]


def _number(environ: Mapping[str, str], name: str) -> int:
    text = _text(environ, name)
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise _error(f"`{name}` must be a number", text, "set it as srun does, or use --cluster")
    return int(text)


def _error(problem: str, received: object, fix: str) -> ClusterError:
    return alone.error(SOURCE, problem, received, fix)
