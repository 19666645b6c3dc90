"""How does a run go from its first step to its last?

The loop is bookkeeping: it says when to run, to look and to save. What a step is stands in
`steps.py`, where it ends in `schedule.py`, and how replicas agree in `strategies/`.
"""

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from strategies.runtime import Runtime, State
from trainer import evaluate, input_pipeline
from trainer.checkpoint import Checkpoint, CheckpointStore, Layout
from trainer.config import ExperimentConfig
from trainer.datasets import Dataset
from trainer.metric_writers import MetricWriter, means
from trainer.sample_order import PADDING, SampleOrder
from trainer.schedule import Loop, Schedule
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
) -> Result:
    """Trains to the config's last step, from the newest checkpoint in `workdir` if there is one.

    `workdir` is None on the tasks that do not write.
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
    log = _ExamplesLog(workdir if config.train.log_examples else None, runtime)
    speed = _Speed()
    step, train, test = start.step, start.metrics, None

    loops = list(schedule.loops(start.step))
    for loop, elements in zip(loops, train_input.elements(loops), strict=True):
        with speed:
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
    """The run's schedule: `train.steps` where it is given, else `train.epochs`."""
    per_epoch = order.steps_per_epoch
    return Schedule(
        total_steps=config.train.steps or config.train.epochs * per_epoch,
        steps_per_epoch=per_epoch,
        steps_per_loop=input_pipeline.choose_steps_per_loop(
            dataset.train,
            order,
            runtime.num_replicas,
            config.train.steps_per_loop,
            runtime.max_steps_per_loop,
        ),
        evaluate_every=config.train.eval_every_epochs * per_epoch,
        checkpoint_every=config.train.checkpoint_every_steps or per_epoch,
    )


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


class _Speed:
    """Examples per second while training: not while saving or evaluating, nor while compiling."""

    def __init__(self):
        self._began = self._lap_s = self._total_s = self._examples = 0.0
        self._laps = 0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *unused: object) -> None:
        self._lap_s += time.perf_counter() - self._began

    def lap(self, num_examples: float) -> float:
        """Examples per second since the last lap."""
        lap_s, self._lap_s = self._lap_s, 0.0
        if self._laps == 1:  # The first lap was spent compiling, so it counts only if alone.
            self._total_s = self._examples = 0.0
        self._laps += 1
        self._total_s += lap_s
        self._examples += num_examples
        return num_examples / lap_s

    @property
    def examples_per_s(self) -> float:
        return self._examples / self._total_s if self._total_s else 0.0


class _ExamplesLog:
    """`examples-REPLICA.jsonl`: which examples each step of each replica consumed."""

    def __init__(self, workdir: Workdir | None, runtime: Runtime):
        self._files = {
            place: open(workdir.path / f"examples-{replica}.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            for place, replica in enumerate(runtime.local_replicas if workdir else ())
        }

    def write(self, loop: Loop, elements: tuple) -> None:
        for place, file in self._files.items():
            for step, examples in _consumed(loop, elements[place][0].numpy()):
                file.write(json.dumps({"step": step, "examples": examples}) + "\n")
            file.flush()


def _consumed(loop: Loop, rows: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    for offset, row in enumerate(rows[: loop.num_steps]):
        yield loop.first_step + offset, row[row != PADDING].tolist()
