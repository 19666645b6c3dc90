"""What does `python -m trainer launch` do?

It plans a cluster on this machine, starts its tasks under a `Supervisor`, and returns the exit code.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from strategies.cluster import alone, resolve
from strategies.cluster.flags import ClusterFlags
from strategies.cluster.spec import ClusterSpec, Task
from strategies.devices import gpus as gpus_lib
from strategies.errors import EXIT_BAD_INPUT, ClusterError
from trainer.cli.options import LaunchOptions
from trainer.launch import cluster_plan, cluster_size, task_flags
from trainer.launch.ports import free_ports
from trainer.launch.restart_policy import RestartPolicy
from trainer.launch.supervisor import Supervisor
from trainer.process import console, event_stream
from trainer.process.start.program import Program
from trainer.process.start.starter import Starter
from trainer.storage import unused
from trainer.task import PRELOAD


def run(
    options: LaunchOptions,
    trainer_args: Sequence[str],
    module: str = "trainer",
    preload: Sequence[str] = (PRELOAD,),
) -> int:
    """Runs a cluster on this machine until it ends, and returns its exit code.

    0 when the run is complete, after however many restarts. Otherwise the code of the first task that
    failed and was not restarted, 128 + n when signal n killed it, and 75 only where every failure was 75.
    After Ctrl-C or SIGTERM: 75 if the run can be resumed, else 128 + n. Call it from the main thread: it
    handles signals, and tasks end with the thread that started them.

    Args:
      options: what to start.
      trainer_args: flags for every task.
      module: what each task runs, with `python -m`.
      preload: what the warm process imports, see `process/start/starter.py`.

    Raises:
      InputError: this machine cannot run what the options ask for.
    """
    _check_no_other_cluster()
    starter = Starter(preload if options.warm else None, _report)
    try:
        return _run(options, trainer_args, module, starter)
    finally:
        starter.close()


def _check_no_other_cluster() -> None:
    """Raises ClusterError where this process is already a task of a cluster."""
    cluster = resolve.find(ClusterFlags())
    if not cluster.is_single_task or cluster.is_evaluator:
        raise ClusterError(
            f"`launch` starts a cluster of its own on this machine, but {cluster.source} describes one "
            f"that this process is in. Received: {cluster}; run `python -m trainer train` as each of its "
            f"tasks, or {alone.without(cluster.source)}."
        )


def _run(options: LaunchOptions, trainer_args: Sequence[str], module: str, starter: Starter) -> int:
    clusters = _plan(options)
    gpus = cluster_plan.share_gpus(
        clusters[0], options.devices_per_worker, gpus_lib.visible(os.environ)
    )
    args = task_flags.add_devices(list(trainer_args), options.devices_per_worker)
    args, created = task_flags.add_workdir(args)
    args += [f"--{name}" for name in ("quiet", "verbose") if getattr(options, name)]
    screen = event_stream.EVENTS if event_stream.is_on() else event_stream.SHARED
    where = f", workdir {created}" if created else ""
    console.print_progress(f"launch: {cluster_plan.task_counts(clusters)} on this machine{where}")

    def programs_for(workers: Sequence[int]) -> dict[Task, Program]:
        shares = cluster_plan.shares_of_workers(gpus, workers)
        return {
            cluster.task: Program(
                module,
                args,
                cluster_plan.task_environ(cluster, shares) | {event_stream.VARIABLE: screen},
                str(cluster.task),
            )
            for cluster in _plan(dataclasses.replace(options, workers=len(workers)))
        }

    def fewer_workers(workers: int) -> int:
        return cluster_size.largest_below(options, args, workers, on_cpus=not gpus)

    policy = RestartPolicy(options, fewer_workers, task_flags.value_of(args, "workdir"))
    tasks = [cluster.task for cluster in clusters]
    resume_flags = f"--workdir={created}" if created else ""
    code = Supervisor(options, tasks, programs_for, starter, policy, resume_flags).supervise()
    if code == EXIT_BAD_INPUT and created:
        unused.remove(pathlib.Path(created))
    return code


def _plan(options: LaunchOptions) -> list[ClusterSpec]:
    """The cluster of these options, on ports that are free now."""
    return cluster_plan.plan(options, free_ports(cluster_plan.num_tasks(options)))


def _report(message: str) -> None:
    console.print_line(f"launch: {message}")
