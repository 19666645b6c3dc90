"""Which folder belongs to the sweep?

`open_folder` opens the one of `--workdir`, or makes a new one below `runs/`.
"""

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Iterator

from strategies.errors import InputError
from trainer.cli.options import TuneOptions
from trainer.storage import locate
from trainer.storage.atomic_files import remove_leftovers
from trainer.storage.outputs import check_outputs
from trainer.storage.workdir import Workdir
from trainer.tune.machines.role import CLIENT, SweepCluster
from trainer.tune.trials.folder import TRIALS, UNFINISHED


@contextlib.contextmanager
def open_folder(options: TuneOptions, name: str, cluster: SweepCluster) -> Iterator[Workdir]:
    """The sweep's folder, locked for one search at a time. Clients may share it with their server.

    If it is in a bucket, a client uses its local copy, which only the server synchronizes.

    Args:
      options: name it; else a new one is made.
      name: how the name of a new one begins.
      cluster: says whether this process is a client.

    Raises:
      InputError: the folder is in use, cannot be used, or contains a run instead of a sweep.
    """
    default = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    workdir = locate.open_workdir(options.workdir or default)
    workdir.make()
    if cluster.role == CLIENT:
        yield workdir
        return
    with workdir.lock(options.startup_timeout_s):
        if workdir.config.exists():
            raise InputError(
                f"`--workdir` must not contain a run. Received: {workdir.name!r}; choose another folder "
                "for the sweep."
            )
        check_outputs(workdir.path)
        _remove_leftovers(workdir.path)
        yield workdir


def _remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes what a killed sweep left behind below its folder."""
    board = folder / "tensorboard"
    for place in (folder / "plots", board, *board.glob("*")):
        remove_leftovers(place)
    for unfinished in (folder / TRIALS).glob(f"{UNFINISHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
