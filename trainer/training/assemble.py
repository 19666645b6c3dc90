"""How does a config become a run?

Each function here turns the config, the data set and the runtime into values that know no config. Only
this module, `batch_split.py` and `warm_start.py` read the config in `trainer/training/`.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import tensorflow as tf
from absl import logging

from strategies import create
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.runtime import Runtime, State
from trainer.config import schema
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig
from trainer.data import augment, input_pipeline, recipe_data
from trainer.data.dataset import Dataset
from trainer.data.input_pipeline import InputPipeline
from trainer.model import (
    build,
    forward,
    frozen_layers,
    learning_rates,
    losses,
    optimizers,
    reduction_blocks,
)
from trainer.model.step import TrainingProgram
from trainer.order.sample_order import SampleOrder
from trainer.order.schedule import Schedule
from trainer.storage.checkpoints import CheckpointStore
from trainer.storage.layout import Layout
from trainer.storage.workdir import Workdir
from trainer.training import batch_split, evaluation, warm_start
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
) -> RunParts:
    """The parts of a run, for `loop.train`. Starts nothing, and exchanges nothing with other tasks.

    `workdir` is None on the tasks that do not write. `examples_dir` is the folder in which any task
    that feeds replicas logs what they consume, if the config asks for it.

    Raises ConfigError where the global batch does not divide among the replicas.
    """
    steps, train = computation(config, dataset, runtime), config.train
    store = None
    if workdir:
        store = checkpoint_store(config, steps.program, dataset, workdir, steps.architecture)
    policy = CheckpointPolicy(store, train.checkpoint_every_s, train.skip_bad_batches)
    if workdir and config.model.initial_weights:
        begin = functools.partial(warm_start.initial_state, config, workdir)
        policy = dataclasses.replace(policy, initial_state=begin)
    end = RunEnd(
        early_stopping(config, steps.program), TimeLimit(train.max_time_s), is_leader=bool(workdir)
    )
    examples_dir = examples_dir if train.log_examples else None
    return RunParts(runtime, steps, policy, workdir, examples_dir, end)


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
    batch_split.check_replicas(config, runtime.num_replicas)
    size = _block_size(config, runtime)
    program, architecture = _program(config, dataset, size, runtime.device_type)
    batch_split.check_statistics(program.shares_statistics, runtime.adds_within_step)
    order = _sample_order(config, dataset)
    recipe = recipe_data.recipe_of(config)
    augmentation = augment.of(recipe, dataset.train, config.train.seed)
    if augmentation:
        logging.info("augment | %s", augmentation.description)
    schedule = _schedule(config, dataset, order, runtime, augmentation is not None)
    train_input = InputPipeline(
        dataset.train,
        order,
        runtime.num_replicas,
        runtime.local_replicas,
        schedule.steps_per_loop,
        input_pipeline.choose_placement(dataset.train, config.data.placement),
        augmentation,
    )
    evaluations = evaluation.evaluation_inputs(dataset, runtime)
    return Computation(program, order, schedule, train_input, evaluations, architecture)


def training_program(
    config: ExperimentConfig, dataset: Dataset, block_size: int = 0
) -> TrainingProgram:
    """The mathematics of one step on a CPU. `block_size`: see `TrainingProgram`."""
    return _program(config, dataset, block_size, "CPU")[0]


def _program(
    config: ExperimentConfig, dataset: Dataset, block_size: int, device_type: str
) -> tuple[TrainingProgram, dict[str, Any] | None]:
    """The mathematics of one step, and the architecture of a recipe's own model.

    Sets whether this process's float32 products may use fewer bits (`train.exact_products`).
    """
    # TensorFlow names the setting after GPUs' TF32; it holds for a TPU's compiler too.
    tf.config.experimental.enable_tensor_float_32_execution(not config.train.exact_products)
    per_epoch = _sample_order(config, dataset).steps_per_epoch
    total_steps = _total_steps(config, per_epoch)
    learning_rates.check(config.optimizer, total_steps)
    if recipe := recipe_data.recipe_of(config):
        from trainer.model import user_model  # It imports Keras's training code.

        own = user_model.build(recipe, config, dataset, block_size, device_type, total_steps)
        return own.program, {"sources": recipe.sources(), **own.architecture}
    shape = dataset.train.features.shape[1:]
    model = build.build(config.model, shape, dataset.num_outputs, config.train.seed)
    frozen_layers.freeze(model, config.model.frozen)
    names = forward.variable_names(model, model.trainable_variables)
    make_optimizer = functools.partial(optimizers.make_optimizer, config.optimizer, total_steps)
    program = TrainingProgram(
        model,
        losses.smoothed(config.train.label_smoothing) if dataset.num_classes else losses.REGRESSION,
        optimizers.Optimizers(model.trainable_variables, names, make_optimizer),
        feature_scale=dataset.feature_scale,
        global_clipnorm=config.optimizer.global_clipnorm,
        block_size=block_size,
    )
    return program, None


def checkpoint_store(
    config: ExperimentConfig,
    program: TrainingProgram,
    dataset: Dataset,
    workdir: Workdir,
    architecture: dict[str, Any] | None = None,
) -> CheckpointStore:
    """The checkpoints of this experiment in a workdir.

    Their origin is the data, every field of the config that decides the weights after a step, and the
    architecture of a recipe's own model.
    """
    slots = [program.slot_names(index) for index in range(len(program.weight_names))]
    decisive = {
        name: value
        for name, value in schema.flatten(config).items()
        if name not in schema.trajectory_free(config)
    }
    decisive["model.initial_weights"] = warm_start.sha256(config, workdir)
    like = State(*program.shapes())
    return CheckpointStore(
        workdir.checkpoints,
        Layout(program.weight_names, slots, program.forward.state_names, like),
        config.train.keep_checkpoints,
        config.train.keep_best,
        origin=decisive | {"data": dataset.fingerprint} | _model_origin(architecture),
        defaults={field.name: field.default for field in schema.fields()},
    )


def checkpoint_evaluator(
    config: ExperimentConfig, choice: Choice, devices: list[str], workdir: Workdir
) -> CheckpointEvaluator:
    """An evaluator of this experiment's checkpoints, on these devices or on the TPU of the choice."""
    # First the runtime: to initialise a TPU clears its memory.
    runtime = create.create(choice, ClusterSpec(), devices)
    dataset = recipe_data.load(config)
    program, architecture = _program(config, dataset, 0, runtime.device_type)
    steps_per_epoch = _sample_order(config, dataset).steps_per_epoch
    return CheckpointEvaluator(
        runtime,
        program,
        evaluation.evaluation_inputs(dataset, runtime),
        checkpoint_store(config, program, dataset, workdir, architecture),
        steps_per_epoch,
        _total_steps(config, steps_per_epoch),
    )


def trained_model(
    config: ExperimentConfig, workdir: Workdir
) -> tuple[TrainingProgram, Dataset, CheckpointStore]:
    """The program and the data of a run, and its checkpoints, without a runtime. On a CPU."""
    dataset = recipe_data.load(config)
    program, architecture = _program(config, dataset, 0, "CPU")
    return program, dataset, checkpoint_store(config, program, dataset, workdir, architecture)


def _model_origin(architecture: dict[str, Any] | None) -> dict[str, str]:
    """What a checkpoint says of a recipe's own model; nothing where the config describes the model."""
    if architecture is None:
        return {}
    text = json.dumps(architecture, sort_keys=True)
    return {"model": hashlib.sha256(text.encode()).hexdigest()}


def _block_size(config: ExperimentConfig, runtime: Runtime) -> int:
    """Examples in each block of a batch (`reduction_blocks.py`); 0 where these replicas have no blocks.

    On GPUs and TPUs only if the config asks: there several small products cost more than a large one.
    """
    batch, wanted = config.data.global_batch_size, config.train.reduction_blocks
    count, replicas = reduction_blocks.num_blocks(batch, wanted), runtime.num_replicas
    is_wanted = wanted or runtime.device_type == "CPU"
    if is_wanted and reduction_blocks.fits(count, replicas) and runtime.adds_in_order:
        return batch // count
    logging.info(
        "%d replicas on %ss do not add %d blocks in a fixed order: with another number of replicas the "
        "weights agree up to rounding",
        replicas,
        runtime.device_type,
        count,
    )
    return 0


def _sample_order(config: ExperimentConfig, dataset: Dataset) -> SampleOrder:
    return SampleOrder(
        len(dataset.train), config.data.global_batch_size, config.train.seed, config.data.shuffle
    )


def _schedule(
    config: ExperimentConfig,
    dataset: Dataset,
    order: SampleOrder,
    runtime: Runtime,
    augments: bool,
) -> Schedule:
    per_epoch = order.steps_per_epoch
    checkpoint_every = config.train.checkpoint_every_steps or per_epoch
    return Schedule(
        total_steps=_total_steps(config, per_epoch),
        steps_per_epoch=per_epoch,
        steps_per_loop=input_pipeline.choose_steps_per_loop(
            dataset.train,
            order,
            runtime.num_replicas,
            config.train.steps_per_loop,
            runtime.steps_per_loop(min(per_epoch, checkpoint_every)),
            augments,
        ),
        evaluate_every=config.train.eval_every_epochs * per_epoch,
        checkpoint_every=checkpoint_every,
    )


def _total_steps(config: ExperimentConfig, steps_per_epoch: int) -> int:
    return config.train.steps or config.train.epochs * steps_per_epoch
