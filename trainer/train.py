"""How does a run go from its first step to its last?

The loop is bookkeeping: it says when to run, to look and to save. What a step is stands in
`steps.py`, where it ends in `schedule.py`, and how replicas agree in `strategies/`.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from absl import logging

from strategies.runtime import Runtime, State
from trainer import evaluate, input_pipeline
from trainer.checkpoint import Checkpoint, CheckpointStore, Layout
from trainer.config import ExperimentConfig
from trainer.datasets import Dataset
from trainer.examples_log import ExamplesLog
from trainer.metric_writers import MetricWriter, means
from trainer.sample_order import SampleOrder
from trainer.schedule import Schedule
from trainer.speed import Speed
from trainer.steps import TrainingProgram
from trainer.stop import StopRequest
from trainer.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run came to. `finished` is false where it was asked to stop on its way."""

    finished: bool
    step: int
    epochs: float
    train: dict[str, Any]
    test: dict[str, float]
    examples_per_s: float
    weights: list[np.ndarray]


def train_and_evaluate(
    config: ExperimentConfig,
    dataset: Dataset,
    runtime: Runtime,
    workdir: Workdir | None,
    stop: StopRequest,
    examples_dir: pathlib.Path | None = None,
) -> Result:
    """Trains to the config's last step, from the newest checkpoint in `workdir` if there is one.

    `workdir` is None on the tasks that do not write. `examples_dir` is where any task that feeds
    replicas logs what they consume, if the config asks for it.
    """
    program = TrainingProgram(config, dataset)
    store = checkpoint_store(config, program, workdir)
    start = resume(store, program, runtime)
    order = SampleOrder(
        len(dataset.train), config.data.global_batch_size, config.train.seed, config.data.shuffle
    )
    schedule = make_schedule(config, dataset, order, runtime)
    train_input = _train_input(config, dataset, order, runtime, schedule.steps_per_loop)
    test_input = evaluate.test_input(dataset, runtime)
    runtime.start(program, start.state, train_input, test_input.pipeline, schedule.total_steps)
    writer = MetricWriter(workdir)
    log = ExamplesLog(examples_dir if config.train.log_examples else None, runtime)
    speed = Speed()
    step, train, test = start.step, start.metrics, None

    feed = train_input.elements(schedule.loops(start.step))
    for loop in schedule.loops(start.step):
        with speed:
            elements = next(feed)
            stopping = runtime.run(loop.first_step, loop.num_steps, elements, stop.requested)
            sums = runtime.collect() if loop.report or stopping else None
        log.write(loop, elements)
        step, epoch = loop.end_step, loop.end_step / order.steps_per_epoch
        if sums is not None:
            train = means(sums, program.metric_name)
            writer.write("train", step, epoch, train | {"examples_per_s": speed.lap(sums[2])})
        if loop.evaluate and not stopping:
            test = evaluate.evaluate(runtime, test_input, program.metric_name)
            writer.write("eval", step, epoch, test)
        if store and (loop.checkpoint or stopping):
            store.save(Checkpoint(step, runtime.state(), train))
        if stopping:
            break

    finished = step >= schedule.total_steps
    test = test or evaluate.evaluate(runtime, test_input, program.metric_name) if finished else {}
    writer.close()
    weights = runtime.state().weights
    epochs = step / order.steps_per_epoch
    return Result(finished, step, epochs, train, test, speed.examples_per_s, weights)


def checkpoint_store(
    config: ExperimentConfig, program: TrainingProgram, workdir: Workdir | None
) -> CheckpointStore | None:
    names = program.weight_names
    slots = [program.slot_names(weight.shape) for weight in program.initial_weights()]
    layout = Layout(names, slots)
    return workdir and CheckpointStore(workdir.checkpoints, layout, config.train.keep_checkpoints)


def resume(store: CheckpointStore | None, program: TrainingProgram, runtime: Runtime) -> Checkpoint:
    """Where every task begins: at the checkpoint its leader found, or at step 0."""
    weights = program.initial_weights()
    fresh = Checkpoint(0, State(weights, program.initial_slots(weights)), {})
    found = (store and store.newest()) or fresh
    shared = runtime.share((np.int64(found.step), found.state.weights, found.state.slots))
    step = int(shared[0])
    if step:
        logging.info("resuming at step %d", step)
    return Checkpoint(step, State(*shared[1:]), found.metrics)


def make_schedule(
    config: ExperimentConfig, dataset: Dataset, order: SampleOrder, runtime: Runtime
) -> Schedule:
    per_epoch = order.steps_per_epoch
    checkpoint_every = config.train.checkpoint_every_steps or per_epoch
    return Schedule(
        total_steps=total_steps(config, per_epoch),
        steps_per_epoch=per_epoch,
        steps_per_loop=input_pipeline.choose_steps_per_loop(
            dataset.train,
            order,
            runtime.num_replicas,
            config.train.steps_per_loop,
            runtime.steps_per_loop(min(per_epoch, checkpoint_every)),
        ),
        evaluate_every=config.train.eval_every_epochs * per_epoch,
        checkpoint_every=checkpoint_every,
    )


def total_steps(config: ExperimentConfig, steps_per_epoch: int) -> int:
    return config.train.steps or config.train.epochs * steps_per_epoch


def _train_input(config, dataset, order, runtime, steps_per_loop) -> input_pipeline.InputPipeline:
    placement = input_pipeline.choose_placement(dataset.train, config.data.placement)
    return input_pipeline.InputPipeline(
        dataset.train,
        order,
        runtime.num_replicas,
        runtime.local_replicas,
        steps_per_loop,
        placement,
    )
