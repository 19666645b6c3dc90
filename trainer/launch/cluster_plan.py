"""How does a whole cluster run on this machine?

`launch` starts one `python -m trainer` for each task, with its ports, environment and flags. Then
`supervisor.py` shows what all of them say, and sees to their end.
"""

import itertools
import json
import os
import pathlib
import re
import time
from collections.abc import Mapping, Sequence

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import InputError
from trainer.cli.options import LaunchOptions
from trainer.launch.ports import HOST


def plan(options: LaunchOptions, ports: Sequence[int]) -> list[ClusterSpec]:
    """One ClusterSpec for each task to start, the evaluator's last."""
    place = iter(ports)
    counts = {"chief": _num_chiefs(options), "worker": options.workers, "ps": options.ps}
    jobs = {
        job: tuple(f"{HOST}:{next(place)}" for _ in range(count))
        for job, count in counts.items()
        if count
    }
    tasks = ClusterSpec(jobs).tasks() + ([Task("evaluator", 0)] if options.evaluator else [])
    return [ClusterSpec(jobs, task) for task in tasks]


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
        task: ",".join(gpus[place * devices_per_worker : (place + 1) * devices_per_worker])
        for place, task in enumerate(trainers)
        if gpus
    }


def shares_of(gpus: Mapping[Task, str], workers: Sequence[int]) -> dict[Task, str]:
    """The GPUs of a cluster of some workers, named by their places among all: each keeps its own."""
    moved = {Task("worker", now): Task("worker", place) for now, place in enumerate(workers)}
    kept = {task: share for task, share in gpus.items() if task.type != "worker"}
    return kept | {now: gpus[task] for now, task in moved.items() if task in gpus}


def _num_chiefs(options: LaunchOptions) -> int:
    return int(bool(options.chief or options.ps))


def num_tasks(options: LaunchOptions) -> int:
    return _num_chiefs(options) + options.workers + options.ps


def environ(cluster: ClusterSpec, gpus: Mapping[Task, str]) -> dict[str, str]:
    task = {"type": cluster.task.type, "index": cluster.task.index}
    environ = {
        **os.environ,
        "TF_CONFIG": json.dumps({"cluster": cluster.as_dict(), "task": task}),
        "PYTHONUNBUFFERED": "1",  # Else the lines of different tasks come in the wrong order.
        "TF_NUM_INTRAOP_THREADS": os.environ.get("TF_NUM_INTRAOP_THREADS", _cores_each(cluster)),
    }
    if gpus:
        environ["CUDA_VISIBLE_DEVICES"] = gpus.get(cluster.task, "-1")
    return environ


def _cores_each(cluster: ClusterSpec) -> str:
    """This machine's cores, shared out: tasks that each took all would wait for one another."""
    return str(max(1, len(os.sched_getaffinity(0)) // len(cluster.trainers())))


def _has_flag(args: Sequence[str], name: str) -> bool:
    return any(arg == f"--{name}" or arg.startswith(f"--{name}=") for arg in args)


def flag(args: Sequence[str], name: str) -> str:
    """The value of a flag that is among them, as the last of its kind says."""
    value = ""
    for arg, following in itertools.zip_longest(args, args[1:], fillvalue=""):
        if arg == f"--{name}":
            value = following
        elif arg.startswith(f"--{name}="):
            value = arg.partition("=")[2]
    return value


def with_devices(args: list[str], devices_per_worker: int) -> list[str]:
    return args if _has_flag(args, "devices") else [*args, f"--devices={devices_per_worker}"]


def with_workdir(args: list[str]) -> tuple[list[str], str]:
    """The flags with one workdir for all tasks, and that workdir if it was made here."""
    if _has_flag(args, "workdir"):
        return args, ""
    named = re.search(r"--config[= ]([^ ]+)", " ".join(args))
    recipe = pathlib.Path(named[1]).stem if named else "digits_dense"
    workdir = _fresh_folder(pathlib.Path("runs"), f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}")
    return [*args, f"--workdir={workdir}"], str(workdir)


def _fresh_folder(parent: pathlib.Path, name: str) -> pathlib.Path:
    for folder in (parent / name, *(parent / f"{name}-{again}" for again in range(2, 100))):
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"`--workdir` must be a folder that can be written. Received: '{folder}' "
                f"({error.strerror}); name another."
            ) from None
    raise InputError(f"`--workdir` is missing, and '{parent / name}' is taken; name another.")


def described(clusters: Sequence[ClusterSpec]) -> str:
    counts: dict[str, int] = {}
    for cluster in clusters:
        counts[cluster.task.type] = counts.get(cluster.task.type, 0) + 1
    return ", ".join(
        f"{count} {job}{'s' if count > 1 and job != 'ps' else ''}" for job, count in counts.items()
    )
