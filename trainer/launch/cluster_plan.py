"""Which tasks, addresses, GPUs and environment does a cluster on this machine have?

`plan` makes a ClusterSpec for each task; `share_gpus` and `task_environ` say what each is started with.
`supervisor.py` then starts the tasks and handles their ends.
"""

import json
import os
from collections.abc import Mapping, Sequence

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import InputError
from trainer.cli.options import LaunchOptions
from trainer.launch.ports import HOST


def plan(options: LaunchOptions, ports: Sequence[int]) -> list[ClusterSpec]:
    """One ClusterSpec for each task to start, the evaluator's last."""
    next_port = iter(ports)
    counts = {"chief": _num_chiefs(options), "worker": options.workers, "ps": options.ps}
    jobs = {
        job: tuple(f"{HOST}:{next(next_port)}" for _ in range(count))
        for job, count in counts.items()
        if count
    }
    tasks = ClusterSpec(jobs).tasks() + ([Task("evaluator", 0)] if options.evaluator else [])
    return [ClusterSpec(jobs, task) for task in tasks]


def num_tasks(options: LaunchOptions) -> int:
    """How many tasks need a port; an evaluator needs none."""
    return _num_chiefs(options) + options.workers + options.ps


def _num_chiefs(options: LaunchOptions) -> int:
    return int(bool(options.chief or options.ps))


def share_gpus(
    cluster: ClusterSpec, devices_per_worker: int, gpus: Sequence[str]
) -> dict[Task, str]:
    """CUDA_VISIBLE_DEVICES for each task that holds replicas; empty on a machine without GPUs.

    Raises:
      InputError: there are GPUs, but too few.
    """
    trainers = cluster.trainers()
    if gpus and len(gpus) < len(trainers) * devices_per_worker:
        raise InputError(
            f"`--devices_per_worker` asks for more GPUs than the {len(gpus)} of this machine. "
            f"Received: {devices_per_worker} for each of {len(trainers)} tasks; lower it or "
            '`--workers`, or set CUDA_VISIBLE_DEVICES="-1" to train on the CPU.'
        )
    return {
        task: ",".join(gpus[rank * devices_per_worker : (rank + 1) * devices_per_worker])
        for rank, task in enumerate(trainers)
        if gpus
    }


def shares_of_workers(gpus: Mapping[Task, str], workers: Sequence[int]) -> dict[Task, str]:
    """The GPUs of each task in a smaller cluster, in which every task keeps its own.

    `workers` are the indices, in the complete cluster, of its workers.
    """
    before = {Task("worker", now): Task("worker", index) for now, index in enumerate(workers)}
    others = {task: share for task, share in gpus.items() if task.type != "worker"}
    return others | {now: gpus[task] for now, task in before.items() if task in gpus}


def task_environ(cluster: ClusterSpec, gpus: Mapping[Task, str]) -> dict[str, str]:
    """The environment that this task is started with."""
    task = {"type": cluster.task.type, "index": cluster.task.index}
    environ = {
        **os.environ,
        "TF_CONFIG": json.dumps({"cluster": cluster.as_dict(), "task": task}),
        "PYTHONUNBUFFERED": "1",  # Otherwise the lines of different tasks come in the wrong order.
        "TF_NUM_INTRAOP_THREADS": os.environ.get("TF_NUM_INTRAOP_THREADS", _cores_each(cluster)),
    }
    if gpus:
        environ["CUDA_VISIBLE_DEVICES"] = gpus.get(cluster.task, "-1")
    return environ


def _cores_each(cluster: ClusterSpec) -> str:
    """An equal share of this machine's cores: tasks that each used all would wait for one another."""
    return str(max(1, len(os.sched_getaffinity(0)) // len(cluster.trainers())))


def task_counts(clusters: Sequence[ClusterSpec]) -> str:
    """The tasks of a cluster, as in "1 chief, 2 workers, 1 ps"."""
    counts: dict[str, int] = {}
    for cluster in clusters:
        counts[cluster.task.type] = counts.get(cluster.task.type, 0) + 1
    return ", ".join(
        f"{count} {job}{'s' if count > 1 and job != 'ps' else ''}" for job, count in counts.items()
    )
