"""What does a task need before it meets its peers? Its workdir, its data, its devices and a fingerprint.

Errors that concern one task only are found here, before any peer waits for it.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from absl import logging

from strategies import choose
from strategies.choose import Choice
from strategies.devices import for_strategy, threads
from strategies.errors import InputError
from trainer.data import recipe_data
from trainer.data.dataset import Dataset
from trainer.process import report
from trainer.storage import locate, saved_weights, unused
from trainer.storage.saved_weights import InitialWeights
from trainer.storage.workdir import Workdir
from trainer.task import fingerprint, rules, shares
from trainer.task.context import TaskContext
from trainer.training import optimizer_parts


@dataclasses.dataclass(frozen=True)
class Prepared:
    """`dataset` is None where the task only serves; `choice` names its transport.

    `initial_weights`: where this task gives them to the others.
    """

    dataset: Dataset | None
    devices: list[str]
    choice: Choice
    fingerprint: dict[str, Any]
    initial_weights: InitialWeights | None = None


def prepare(task: TaskContext, workdir: Workdir | None = None) -> Prepared:
    """Loads the data and selects the devices of this task. `workdir`: where it writes one.

    Raises:
      InputError: a flag or the config does not fit the data, the devices or the cluster.
    """
    options, config = task.options, task.config
    if config.train.threads_per_operation != 1:
        threads.use_several_per_operation(config.train.threads_per_operation)
    recipe = recipe_data.recipe_of(config)
    # Before its functions run, which may import more: a task that only serves runs none of them.
    sources = recipe.sources() if recipe else None
    # A recipe's own code may compute with TensorFlow, which then takes no more settings of devices.
    dataset = None if recipe else _load(task)
    devices = for_strategy.local_devices(options.devices, task.choice)
    if warning := for_strategy.why_no_gpu(task.choice, devices):
        logging.warning("%s", warning)
    choice = choose.with_transport(task.choice, options.transport, devices)
    choice = rules.with_mesh(config, choice, options.mesh, task.cluster, devices)
    if choice.mesh:
        report.common("mesh %s: %s", choice.mesh, choice.reason)
    if choice.transport:
        report.common(
            "transport %s: gradients are sent %s", choice.transport, choice.transport_description
        )
    rules.check_batch(config, choice, task.cluster, devices)
    if config.sync.shard_optimizer:
        report.common("optimizer | %s", optimizer_parts.note(choice, task.cluster))
    dataset = dataset or _load(task)
    if dataset:
        rules.check_loaded(config, choice, task.cluster, len(devices), dataset)
        if workdir:
            dataset = shares.prepare(config, dataset, workdir)
            shares.record(dataset, workdir)
    compared = dataset if choice.every_task_loads_data else None
    weights = _initial_weights(task, workdir)
    return Prepared(
        dataset,
        devices,
        choice,
        fingerprint.compute(
            config,
            choice,
            len(devices),
            compared,
            sources,
            _compared(task, weights),
            options.profile,
        ),
        weights if workdir else None,
    )


def _initial_weights(task: TaskContext, workdir: Workdir | None) -> InitialWeights | None:
    """The weights that the config names."""
    begun = saved_weights.recorded(workdir.checkpoints) if workdir else None
    source = task.config.model.initial_weights
    return InitialWeights(source, begun) if source else None


def _compared(task: TaskContext, weights: InitialWeights | None) -> str | None:
    """sha256 of the weights that the run begins with; None where this task has none or needs none.

    Raises SavedWeightsError where the leader has none, as the others get them from it.
    """
    if not weights or weights.begun is not None:
        return None
    try:
        return weights.sha256
    except InputError:
        if task.cluster.is_leader:
            raise
        return None


def _load(task: TaskContext) -> Dataset | None:
    """The data of this task; None where it only serves."""
    if task.serves:
        return None
    report.progress("reading the data")
    dataset = recipe_data.load(task.config)
    report.common("data | %s", dataset.description)
    return dataset


@contextlib.contextmanager
def own_workdir(task: TaskContext) -> Iterator[Workdir | None]:
    """The workdir, claimed while the body runs; None where this task is not the leader."""
    if not task.cluster.is_leader:
        yield None
        return
    workdir = locate.open_workdir(_path(task))
    try:
        with workdir.claim(task.config, task.options.startup_timeout_s):
            logging.info("workdir %s", workdir)
            yield workdir
    except InputError:
        if not task.options.workdir:
            unused.remove(workdir.path)
        raise


def _path(task: TaskContext) -> str | pathlib.Path:
    """The folder of `--workdir`, or a new one under `runs/`."""
    name = f"{task.config.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    return task.options.workdir or pathlib.Path("runs", name)


def timeline_dir(task: TaskContext, workdir: Workdir | None) -> pathlib.Path | None:
    """The folder in which this task records its time: the workdir, where the leader's is seen here."""
    if workdir or not task.options.workdir:
        return workdir.path if workdir else None
    shared = locate.open_workdir(task.options.workdir)
    return shared.path if shared.config.exists() else None


def profile_dir(task: TaskContext, workdir: Workdir | None) -> pathlib.Path | None:
    """The folder for a trace of this task's steps, where TensorBoard finds it."""
    folder = timeline_dir(task, workdir)
    name = str(task.cluster.task).replace(" ", "-")
    return folder and folder / "tensorboard" / f"profile-{name}"


def examples_dir(task: TaskContext, workdir: Workdir | None) -> pathlib.Path | None:
    """The folder in which this task logs its examples: every task uses the workdir, if it has one."""
    path = task.options.workdir
    if workdir or not (path and task.config.train.log_examples):
        return workdir.path if workdir else None
    shared = locate.open_workdir(path)
    shared.make()
    return shared.path
