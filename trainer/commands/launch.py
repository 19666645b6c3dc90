"""What does `python -m trainer launch` do?"""

import dataclasses
import os
from collections.abc import Sequence

from strategies.cluster.spec import Task
from strategies.devices import gpus as gpus_lib
from trainer.cli.options import LaunchOptions
from trainer.launch import cluster_size
from trainer.launch.child_process import Command
from trainer.launch.cluster_plan import (
    described,
    environ,
    flag,
    num_tasks,
    plan,
    share_gpus,
    shares_of,
    with_devices,
    with_workdir,
)
from trainer.launch.ports import free_ports
from trainer.launch.supervisor import Supervisor


def run(options: LaunchOptions, trainer_args: Sequence[str], module: str = "trainer") -> int:
    """The exit code of a cluster that ran to its end on this machine.

    0 when the run came to its end, with whatever restarts. Otherwise the code of the first task that
    failed and was not started again, 128 + n when signal n killed it, and 75 only where every failure
    was 75. After Ctrl-C or SIGTERM: 75 if the tasks can be resumed, else 128 + n. Call it from the
    main thread: it handles signals, and tasks end with the thread that started them.

    Args:
      options: what to start.
      trainer_args: flags for every task.
      module: what each task runs, with `python -m`.

    Raises:
      InputError: the options ask for what this machine cannot do.
    """
    whole = plan(options, free_ports(num_tasks(options)))
    gpus = share_gpus(whole[0], options.devices_per_worker, gpus_lib.visible(os.environ))
    args, made = with_workdir(with_devices(list(trainer_args), options.devices_per_worker))
    where = f", workdir {made}" if made else ""
    print(f"launch: {described(whole)} on this machine{where}", flush=True)

    def form(workers: Sequence[int]) -> dict[Task, Command]:
        some = dataclasses.replace(options, workers=len(workers))
        clusters = plan(some, free_ports(num_tasks(some)))
        shares = shares_of(gpus, workers)
        return {one.task: Command(["-m", module, *args], environ(one, shares)) for one in clusters}

    return Supervisor(
        options,
        [cluster.task for cluster in whole],
        form,
        lambda workers: cluster_size.largest_below(options, args, workers),
        flag(args, "workdir"),
        f"--workdir={made}" if made else "",
    ).supervise()
