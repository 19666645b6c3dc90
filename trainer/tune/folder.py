"""Which folder is the sweep's?"""

import contextlib
import os
import time
from collections.abc import Iterator

from strategies.errors import InputError
from trainer.cli.options import TuneOptions
from trainer.storage import locate
from trainer.storage.workdir import Workdir
from trainer.tune.machines.role import CLIENT, SweepCluster


@contextlib.contextmanager
def claimed(options: TuneOptions, name: str, cluster: SweepCluster) -> Iterator[Workdir]:
    """The sweep's folder. It is one search's at a time; clients may share it with their chief.

    Of a bucket they use the folder on their own machine, which only the search brings in there.
    """
    default = f"runs/sweep-{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    workdir = locate.open_workdir(options.workdir or default)
    workdir.make()
    if cluster.role == CLIENT:
        yield workdir
        return
    with workdir.lock(options.startup_timeout_s):
        if workdir.config.exists():
            raise InputError(
                f"`--workdir` holds a run, and not a sweep. Received: {workdir.name!r}; choose another "
                "folder."
            )
        yield workdir
