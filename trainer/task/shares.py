"""Which shares of the data does a run train on? All tasks, and all starts of the run, have the same.

The leader divides the data, or reads the shares that the run was begun with; it stores them in the
workdir and broadcasts them. So the shares cannot differ between machines, whose processors may round the
distances of clusters differently.
"""

import dataclasses

import numpy as np
from absl import logging

from strategies.runtime import Runtime
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.order import label_mix
from trainer.order import partition as partition_lib
from trainer.order.partition import Partition
from trainer.reporting import shares
from trainer.storage import saved_partition
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir, saved_steps


def prepare(config: ExperimentConfig, dataset: Dataset, workdir: Workdir | None) -> Dataset:
    """The data with the shares that the run in a workdir has or will have. Writes nothing.

    Raises:
      PartitionError: the data cannot be divided so.
      WorkdirError: the run was begun with other shares, or they cannot be read.
    """
    if config.data.partition == "none":
        return dataset
    partition = _begun(dataset, workdir) or _made(config, dataset, workdir)
    return dataclasses.replace(dataset, partition=partition)


def _begun(dataset: Dataset, workdir: Workdir | None) -> Partition | None:
    return saved_partition.read(workdir.partition, len(dataset.train)) if workdir else None


def _made(config: ExperimentConfig, dataset: Dataset, workdir: Workdir | None) -> Partition:
    made = partition_lib.of(config, dataset)
    if workdir and saved_steps(workdir.checkpoints):
        recorded = saved_partition.sha256(workdir.partition)
        if recorded != made.sha256:
            what = f"sha256 {recorded[:16]}" if recorded else "which are missing there"
            raise WorkdirError(
                f"`--workdir` was begun with other shares of the data, {what}. Received: shares with "
                f"sha256 {made.sha256[:16]} for {workdir.name!r}; restore "
                f"{workdir.partition.name}/ in it, or choose another folder."
            )
    return made


def describe(dataset: Dataset) -> str:
    """One sentence on the shares of the data, which has some."""
    assert dataset.partition is not None
    return shares.one_sentence(dataset.partition, label_mix.of(dataset, dataset.partition))


def record(dataset: Dataset, workdir: Workdir) -> None:
    """Logs the shares of the data and stores them in the workdir, if it has some. Raises WorkdirError."""
    if not dataset.partition:
        return
    logging.info("shares | %s", describe(dataset))
    if saved_partition.sha256(workdir.partition) != dataset.partition.sha256:
        saved_partition.write(workdir.partition, dataset.partition)


def hand_out(config: ExperimentConfig, dataset: Dataset, runtime: Runtime) -> Dataset:
    """The data with the leader's shares, on every task. All tasks must call this together."""
    if config.data.partition == "none" or config.federated.own_data:
        return dataset
    mine = dataset.partition
    count = int(runtime.broadcast(np.array([len(mine.shares) if mine else 0]))[0])
    own = mine.assignment if mine else np.zeros(len(dataset.train), np.min_scalar_type(count - 1))
    assignment = runtime.broadcast(own)
    if mine:
        return dataset
    return dataclasses.replace(dataset, partition=Partition.from_assignment(assignment, count))
