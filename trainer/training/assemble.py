"""How does a config become a run?

Each function here turns the config, the data set and the runtime into values that know no config. Only
this module, `agreements.py`, `batch_split.py`, `orders.py`, `privacy_budget.py` and `programs.py` read
the config in `trainer/training/`.
"""

import functools
import hashlib
import json
import pathlib
from typing import Any

from strategies import create
from strategies.apart import replica_state
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.runtime import Runtime
from strategies.state import State
from trainer.config import schema
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig
from trainer.data import augment, input_pipeline, recipe_data
from trainer.data.dataset import Dataset
from trainer.data.input_pipeline import InputPipeline
from trainer.model import reduction_blocks
from trainer.model.step import TrainingProgram
from trainer.order.order import Order
from trainer.order.schedule import Schedule
from trainer.process import report
from trainer.storage import saved_weights
from trainer.storage.checkpoints import CheckpointStore
from trainer.storage.layout import Layout
from trainer.storage.saved_weights import InitialWeights
from trainer.storage.workdir import Workdir
from trainer.training import (
    agreements,
    batch_split,
    evaluation,
    optimizer_parts,
    orders,
    privacy_budget,
    programs,
    sparse_embeddings,
    warm_start,
)
from trainer.training.balancing import Balancing
from trainer.training.checkpoint_evaluator import CheckpointEvaluator
from trainer.training.early_stopping import EarlyStopping
from trainer.training.parts import CheckpointPolicy, Computation, RunParts
from trainer.training.run_end import RunEnd
from trainer.training.time_limit import TimeLimit


def assemble(
    config: ExperimentConfig,
    dataset: Dataset,
    runtime: Runtime,
    workdir: Workdir | None,
    examples_dir: pathlib.Path | None = None,
    initial_weights: InitialWeights | None = None,
) -> RunParts:
    """The parts of a run, for `loop.train`. Starts nothing, and exchanges nothing with other tasks.

    `workdir` is None on the tasks that do not write. `examples_dir` is the folder in which any task
    that feeds replicas logs what they consume, if the config asks for it. `initial_weights`: those of the
    config, where they were read already.

    Raises ConfigError where the global batch does not divide among the replicas.
    """
    steps, train = computation(config, dataset, runtime), config.train
    store = None
    if workdir:
        if source := config.model.initial_weights:
            begun = saved_weights.recorded(workdir.checkpoints)
            initial_weights = initial_weights or InitialWeights(source, begun)
        digest = initial_weights.sha256 if initial_weights else ""
        store = checkpoint_store(
            config,
            steps.program,
            dataset,
            workdir,
            steps.architecture,
            digest,
            lazily=runtime.holds_part,
        )
    begin = functools.partial(_initial_state, config, initial_weights if workdir else None)
    policy = CheckpointPolicy(store, train.checkpoint_every_s, train.skip_bad_batches, begin)
    end = RunEnd(
        early_stopping(config, steps.program),
        TimeLimit(train.max_time_s),
        is_leader=bool(workdir),
        budget=privacy_budget.of(config, len(dataset.train)),
    )
    # The parts of a model compute the same examples.
    is_first = runtime.model_part.place == 0
    examples_dir = examples_dir if train.log_examples and is_first else None
    details = train.tensorboard_details
    return RunParts(runtime, steps, policy, workdir, examples_dir, end, details)


def _initial_state(
    config: ExperimentConfig, initial_weights: InitialWeights | None, program: TrainingProgram
) -> State:
    """Where the run starts. Only the task that writes reads initial weights from a file."""
    state = program.initial_state()
    if initial_weights:
        state = warm_start.initial_state(initial_weights, config.model.skipped, program)
    return replica_state.begin(agreements.of(config), state)


def early_stopping(config: ExperimentConfig, program: TrainingProgram) -> EarlyStopping:
    """What judges the evaluations. Raises ConfigError where the model has no such metric."""
    asked = config.early_stopping
    if asked.patience and asked.metric not in program.metric_names:
        raise ConfigError(
            f"`early_stopping.metric` must be one of {', '.join(program.metric_names)}. Received: "
            f"{short_json(asked.metric)}; set another with --config.early_stopping.metric=NAME."
        )
    return EarlyStopping(
        asked.patience, asked.metric, asked.mode, asked.min_delta, asked.restore_best
    )


def computation(config: ExperimentConfig, dataset: Dataset, runtime: Runtime) -> Computation:
    """What every step computes on this runtime's replicas.

    Raises ConfigError where the global batch does not divide among them.
    """
    replicas = batch_split.Replicas.of_runtime(runtime)
    batch_split.check_batch(config, replicas)
    blocks = _num_blocks(config, runtime, replicas)
    size = _block_size(config, blocks)
    runs = batch_split.runs(config, replicas, blocks)
    program, architecture = programs.program(
        config, dataset, size, runtime.device_type, runtime.model_part, keeps_values=False
    )
    agreements.check_optimizers(config, program.optimizers)
    optimizer_parts.check_program(config, program)
    sparse_embeddings.prepare(config, program, dataset)
    batch_split.check_statistics(program.shares_statistics, runtime.adds_within_step)
    order = orders.of(config, dataset, runtime.local_replicas)
    recipe = recipe_data.recipe_of(config)
    augmentation = augment.of(recipe, dataset.train, config.train.seed, config.data.augment)
    if augmentation:
        report.common("augment | %s", augmentation.description)
    schedule = _schedule(config, dataset, order, runtime, augmentation is not None)
    train_input = InputPipeline(
        dataset.train,
        order,
        *orders.columns(config, runs, runtime.local_replicas),
        schedule.steps_per_loop,
        input_pipeline.choose_placement(dataset.train, config.data.placement),
        augmentation,
    )
    moves = config.data.balance != "equal"
    evaluations = evaluation.evaluation_inputs(dataset, runtime, runs if moves else None)
    balancing = Balancing(runs, replicas.workers, config.data.balance == "measured")
    return Computation(program, order, schedule, train_input, evaluations, balancing, architecture)


def checkpoint_store(
    config: ExperimentConfig,
    program: TrainingProgram,
    dataset: Dataset,
    workdir: Workdir,
    architecture: dict[str, Any] | None = None,
    initial_weights: str | None = None,
    lazily: bool = False,
) -> CheckpointStore:
    """The checkpoints of this experiment in a workdir.

    `initial_weights`: the sha256 of what it begins with, "" where that follows from the seed; None where
    checkpoints are only read, whatever the run began with. `lazily`: arrays are read when they are used.

    Their origin is the data, every field of the config that decides the weights after a step, and the
    architecture of a recipe's own model.
    """
    like = replica_state.begin(agreements.of(config), State(*program.shapes()))
    slots = [
        program.slot_names(index)[: len(own)]  # None are saved that start anew at each agreement.
        for index, own in enumerate(like.slots)
    ]
    decisive = {
        name: value
        for name, value in schema.flatten(config).items()
        if name not in schema.trajectory_free(config)
    }
    decisive["model.initial_weights"] = initial_weights
    return CheckpointStore(
        workdir.checkpoints,
        Layout(program.weight_names, slots, program.forward.state_names, like),
        config.train.keep_checkpoints,
        config.train.keep_best,
        origin=decisive | {"data": dataset.fingerprint} | _model_origin(architecture),
        defaults={field.name: field.default for field in schema.fields()},
        lazily=lazily,
    )


def checkpoint_evaluator(
    config: ExperimentConfig, choice: Choice, devices: list[str], workdir: Workdir
) -> CheckpointEvaluator:
    """An evaluator of this experiment's checkpoints, on these devices or on the TPU of the choice."""
    # First the runtime: to initialise a TPU clears its memory.
    runtime = create.create(choice, ClusterSpec(), devices)
    dataset = recipe_data.load(config)
    program, architecture = programs.program(config, dataset, 0, runtime.device_type)
    steps_per_epoch = orders.steps_per_epoch(config, dataset)
    return CheckpointEvaluator(
        runtime,
        program,
        evaluation.evaluation_inputs(dataset, runtime),
        checkpoint_store(config, program, dataset, workdir, architecture),
        steps_per_epoch,
        _last_step(config, dataset, steps_per_epoch),
    )


def trained_model(
    config: ExperimentConfig, workdir: Workdir
) -> tuple[TrainingProgram, Dataset, CheckpointStore]:
    """The program and the data of a run, and its checkpoints, without a runtime. On a CPU."""
    dataset = recipe_data.load(config)
    program, architecture = programs.program(config, dataset, 0, "CPU")
    return program, dataset, checkpoint_store(config, program, dataset, workdir, architecture)


def _model_origin(architecture: dict[str, Any] | None) -> dict[str, str]:
    """What a checkpoint says of a recipe's own model; nothing where the config describes the model."""
    if architecture is None:
        return {}
    text = json.dumps(architecture, sort_keys=True)
    return {"model": hashlib.sha256(text.encode()).hexdigest()}


def _block_size(config: ExperimentConfig, blocks: int) -> int:
    """Examples in each block of a replica's batch; 0 where that is one block."""
    batch = config.data.global_batch_size
    if (agreement := agreements.of(config)).trains_apart:
        wanted = config.train.reduction_blocks
        return agreement.block_size(batch, reduction_blocks.num_blocks(batch, wanted))
    return batch // blocks if blocks else 0


def _num_blocks(config: ExperimentConfig, runtime: Runtime, replicas: batch_split.Replicas) -> int:
    """The blocks of a batch (`reduction_blocks.py`); 0 where these replicas have no blocks."""
    blocks = batch_split.num_blocks(config, replicas)
    if (blocks and runtime.adds_in_order) or agreements.of(config).trains_apart:
        return blocks
    report.common(
        "%d replicas on %ss do not add %d blocks in a fixed order: with another number of replicas the "
        "weights agree up to rounding",
        runtime.num_replicas,
        runtime.device_type,
        reduction_blocks.num_blocks(config.data.global_batch_size, config.train.reduction_blocks),
    )
    return 0


def _schedule(
    config: ExperimentConfig,
    dataset: Dataset,
    order: Order,
    runtime: Runtime,
    augments: bool,
) -> Schedule:
    per_epoch, period = order.steps_per_epoch, agreements.of(config).period
    checkpoint_every = config.train.checkpoint_every_steps or per_epoch
    steps_per_loop = input_pipeline.choose_steps_per_loop(
        dataset.train,
        order,
        runtime.num_replicas,
        config.train.steps_per_loop,
        runtime.steps_per_loop(min(per_epoch, checkpoint_every)),
        augments,
    )
    return Schedule(
        total_steps=_last_step(config, dataset, per_epoch),
        steps_per_epoch=per_epoch,
        steps_per_loop=min(-(-steps_per_loop // period) * period, per_epoch),
        evaluate_every=config.train.eval_every_epochs * per_epoch,
        checkpoint_every=checkpoint_every,
        period=period,
    )


def _last_step(config: ExperimentConfig, dataset: Dataset, steps_per_epoch: int) -> int:
    """That of the run, which ends early where all steps would cost too much privacy."""
    total = orders.total_steps(config, steps_per_epoch)
    budget = privacy_budget.of(config, len(dataset.train))
    return budget.last_step(total) if budget else total
