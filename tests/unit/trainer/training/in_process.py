"""How do tests train a whole run in their own process?"""

import pathlib
from typing import Any, cast

from strategies import create
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.process.watchdog import Watchdog
from trainer.storage.workdir import Workdir
from trainer.training import assemble, batch_split, loop
from trainer.training.parts import RunParts
from trainer.training.result import Result


class _NeverStops:
    """In place of a `StopRequest`, which would take this process's signals."""

    requested = False


def train(
    config: ExperimentConfig, dataset: Dataset, folder: pathlib.Path
) -> tuple[RunParts, Result]:
    """The parts of a run on one device, and how it ended. `folder`: its workdir."""
    workdir = Workdir(folder)
    workdir.initialize(config)
    choice = batch_split.with_agreement(config, Choice("mirrored", "a test"))
    runtime = create.create(choice, ClusterSpec(), ["CPU:0"])
    with Watchdog(600) as watch:
        parts = assemble.assemble(config, dataset, runtime, workdir)
        return parts, loop.train(parts, cast(Any, _NeverStops()), watch)
