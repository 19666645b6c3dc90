"""What does `python -m trainer plan` do? It says how fast N workers would train, in which mode.

It measures a step and an exchange of the config on this machine, and puts them into a cost model
(`estimate/cost_model.py`). With --accuracy it also trains the config with N logical replicas.
"""

import dataclasses
import math
import pathlib
import time

from strategies import tensorflow_import
from strategies.choose import Choice
from strategies.devices import for_strategy
from strategies.errors import EXIT_DONE, Resumable
from strategies.sync.asynchronous import AsyncWindow
from strategies.sync.compression import KINDS
from trainer.cli.plan_options import PlanOptions
from trainer.config import load as config_load
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig
from trainer.data import recipe_data
from trainer.data.dataset import Dataset
from trainer.estimate import real_runs
from trainer.estimate.cost_model import Calibration, CostModel, Row, Variant, Work
from trainer.estimate.traffic import Link
from trainer.process import console, report
from trainer.process.standard_json import to_json
from trainer.reporting import plan_table
from trainer.reporting.plan_table import Plan
from trainer.storage.atomic_files import storing, write_file

_COMPRESSIONS = tuple(kind for kind in KINDS if kind != "none")
_AVERAGING = ("parameters", "dynamic")
_NAMES = (
    "gradients",
    *(name + kind for name in _AVERAGING for kind in ("", *(f":{one}" for one in _COMPRESSIONS))),
    "async_window",
)
_SHOWN = tuple(name for name in _NAMES if not name.startswith("dynamic:"))


def run(options: PlanOptions) -> int:
    """Prints the plan; returns the exit code. Raises InputError, Resumable."""
    config = config_load.resolve(options.config, options.overrides)
    names = _names(options, config)
    devices = for_strategy.local_devices(0, Choice("mirrored", "to measure it"))
    dataset = recipe_data.load(config)
    with tensorflow_import.quietly():
        from trainer.estimate import calibrate
    report.progress("measuring a step and an exchange")
    measured, sizes = calibrate.calibrate(config, dataset, devices)
    work = _work(options, config, dataset, calibrate.num_blocks(config))
    if "async_window" in names:
        measured = _with_window(measured, options, config, dataset)
    model = CostModel(measured, sizes, work, Link(options.bits_per_s, options.latency_s))
    rows: dict[tuple[int, Variant], Row | None] = {}
    counts = sorted({*options.worker_counts, *options.accuracy_counts})
    for workers in counts:
        for name in names:
            for variant in _variants(name, config, dataset, workers, work):
                rows[workers, variant] = model.row(variant, workers)
    if not any(rows.values()):
        raise ConfigError(
            "`--workers` must be numbers among which the batch can be divided. Received: "
            f"{short_json(options.workers)}; try --workers=1..4, or --batch=each."
        )
    plan = Plan(rows, model, _accuracies(options, config, names))
    text = to_json(plan_table.as_json(plan), indent=2)
    if options.output:
        path = pathlib.Path(options.output)
        with storing("output", path):
            write_file(path, text + "\n")
    console.print_result(text if options.json else "\n".join(plan_table.lines(plan)))
    return EXIT_DONE


def _names(options: PlanOptions, config: ExperimentConfig) -> tuple[str, ...]:
    """The columns of the table. Raises ConfigError where one is none of the config's modes."""
    possible = ("federated",) if config.sync.mode == "federated" else _NAMES
    shown = ("federated",) if config.sync.mode == "federated" else _SHOWN
    asked = tuple(options.modes.split(",")) if options.modes else shown
    for name in asked:
        if name not in possible:
            raise ConfigError(
                f"`--modes` must be among {', '.join(possible)} for this config. Received: "
                f"{short_json(name)}; leave it out, or choose another --config.sync.mode."
            )
    return tuple(name for name in possible if name in asked)


def _work(options: PlanOptions, config: ExperimentConfig, dataset: Dataset, blocks: int) -> Work:
    work = Work(
        config.data.global_batch_size,
        blocks,
        config.sync.replicas,
        grows=options.batch == "each",
        servers=options.ps,
        examples=len(dataset.train),
    )
    if config.sync.mode != "federated":
        return work
    shares = config.data.partitions
    steps = math.ceil(len(dataset.train) / shares / work.batch)  # Of a client, in an epoch.
    return dataclasses.replace(
        work,
        clients=config.federated.clients_per_round,
        client_steps=config.federated.local_epochs * steps,
        shares=shares,
    )


def _variants(
    name: str, config: ExperimentConfig, dataset: Dataset, workers: int, work: Work
) -> list[Variant]:
    """A variant, or those with the shortest and the longest interval that it may have."""
    mode, _, compression = name.partition(":")
    sync = config.sync
    intervals = {
        "gradients": {1},
        "parameters": {sync.every_steps},
        "dynamic": {sync.min_steps, sync.max_steps},
        "federated": {work.client_steps},
        "async_window": {_window_steps(config, dataset, workers)},
    }[mode]
    return [Variant(mode, compression or "none", steps) for steps in sorted(intervals)]


def _window_steps(config: ExperimentConfig, dataset: Dataset, workers: int) -> int:
    from strategies.parameter_server.windows import Windows  # It imports TensorFlow.

    windows = Windows(AsyncWindow(window_steps=config.sync.window_steps), workers)
    windows.steps_per_loop(-(-len(dataset.train) // config.data.global_batch_size))
    return windows.steps


def _with_window(
    measured: Calibration, options: PlanOptions, config: ExperimentConfig, dataset: Dataset
) -> Calibration:
    """With what a window takes on this machine, unless parameter servers cannot run here."""
    report.progress("measuring a window through parameter servers")
    steps = _window_steps(config, dataset, 1)
    try:
        found = real_runs.window_s(config, steps, options.ps)
    except (ConfigError, Resumable) as error:
        report.common("plan | async_window is left out: %s", error)
        return measured
    rest = found - steps * measured.step_s(config.data.global_batch_size)
    return dataclasses.replace(measured, window_s=max(0.0, rest))


def _accuracies(
    options: PlanOptions, config: ExperimentConfig, names: tuple[str, ...]
) -> plan_table.Accuracies:
    """What N logical replicas reach, by training them here. Asynchronous workers are not replicas."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    folder = options.workdir or f"runs/plan-{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    grows = options.batch == "each"
    for number in options.accuracy_counts:
        for name in names:
            mode, _, compression = name.partition(":")
            if mode == "async_window":
                continue
            variant = Variant(mode, compression or "none")
            changed = real_runs.with_replicas(config, variant, number, grows)
            report.progress(f"training {number} logical replicas in mode {name}")
            # Gradients of the same batch are the same, so one run, which then has finished, is enough.
            of_all = mode == "gradients" and not grows
            workdir = pathlib.Path(folder, name.replace(":", "-"), "any" if of_all else str(number))
            found[name, number] = real_runs.accuracy_of(changed, workdir)
    return found
