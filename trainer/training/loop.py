"""How does a run go from its first step to its last?

The loop is bookkeeping: it says when to run, to look and to save. What a step is stands in
`step.py`, where it ends in `schedule.py`, and how replicas agree in `strategies/`.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from strategies.devices import threads as threads_lib
from strategies.runtime import NUM_SUMS, Runtime
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.metrics.examples_log import ExamplesLog
from trainer.metrics.means import means
from trainer.metrics.throughput import Speed
from trainer.metrics.writers import MetricWriter
from trainer.model.step import TrainingProgram
from trainer.order.schedule import Loop
from trainer.process.signals import StopRequest
from trainer.process.watchdog import Watchdog
from trainer.storage.background_save import BackgroundSaver
from trainer.storage.checkpoints import Checkpoint
from trainer.storage.workdir import Workdir
from trainer.training import evaluation, nonfinite, resume
from trainer.training.assemble import block_size, make_schedule, sample_order, train_input


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
    watch: Watchdog,
    examples_dir: pathlib.Path | None = None,
) -> Result:
    """Trains to the config's last step, from the newest checkpoint in `workdir` if there is one.

    `workdir` is None on the tasks that do not write. `examples_dir` is where any task that feeds
    replicas logs what they consume, if the config asks for it.

    Raises:
      CheckpointError, WorkdirError: the workdir takes no more.
      BadNumbersError: a loss became NaN or infinite.
    """
    with _Run(config, dataset, runtime, workdir, stop, watch, examples_dir) as run:
        while not run.train():
            run.go_back()
        return run.result()


class _Run:
    """One run under way: `step`, its metrics so far, and what it writes to."""

    def __init__(self, config, dataset, runtime, workdir, stop, watch, examples_dir):
        self._config, self._runtime, self._workdir = config, runtime, workdir
        self._stop, self._watch = stop, watch
        self._program = TrainingProgram(config, dataset, block_size(config, runtime))
        self._store = resume.checkpoint_store(config, self._program, dataset, workdir)
        self._saver = self._store and BackgroundSaver(self._store, config.train.checkpoint_every_s)
        start = resume.resume(self._store, self._program, runtime, config)
        self._order = sample_order(config, dataset)
        self._schedule = make_schedule(config, dataset, self._order, runtime)
        self._input = train_input(
            config, dataset, self._order, runtime, self._schedule.steps_per_loop
        )
        self._test_input = evaluation.test_input(dataset, runtime)
        runtime.start(
            self._program,
            start.state,
            self._input,
            self._test_input.pipeline,
            self._schedule.total_steps,
        )
        self._writer = MetricWriter(workdir)
        self._log = ExamplesLog(examples_dir if config.train.log_examples else None, runtime)
        self._speed = Speed()
        self._stand_at(start)

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.closing(self._writer), contextlib.closing(self._log):
            if self._saver:
                self._saver.__exit__(*error)

    def train(self) -> bool:
        """Trains until the end, or a stop. False where the numbers have gone bad."""
        if self._test is None and self._schedule.evaluates_at(self._step):
            self._evaluate()  # It was stopped before it came to that.
        with contextlib.closing(self._loops()) as loops:
            for loop, elements in loops:
                stopping = not loop.skip and self._take(loop, elements)
                self._step = loop.end_step
                if (loop.report or stopping) and not self._collect():
                    return False
                if loop.report:
                    self._report()
                if loop.evaluate and not stopping:
                    self._evaluate()
                if (loop.checkpoint or stopping) and not self._save():
                    return False
                if self._saver and self._saver.is_due and self._collect():
                    self._save()
                if stopping:
                    break
        return True

    def go_back(self) -> None:
        """To the last checkpoint, having found where the numbers went bad.

        Raises:
          BadNumbersError: the config wants no batch left out, or no more.
        """
        self._watch.progress(f"looking for bad numbers before step {self._step}")
        if self._saver:
            self._saver.flush()
        start = resume.resume(self._store, self._program, self._runtime, self._config)
        self._runtime.restore(start.state)
        elements, schedule = self._input.elements, self._schedule
        bad = nonfinite.find(self._runtime, elements, schedule, start.step, self._step)
        if bad is None:
            logging.warning("they went well when taken again; going on at step %d", self._step)
            self._sums = np.zeros(NUM_SUMS)
            return
        may_skip = len(schedule.skipped) < self._config.train.skip_bad_batches
        nonfinite.report(bad, self._order, self._workdir, start.step, may_skip)
        self._runtime.restore(start.state)
        skipped = {*schedule.skipped, bad.step}
        self._stand_at(dataclasses.replace(start, skipped=tuple(sorted(skipped))))

    def result(self) -> Result:
        """What it came to; the weights are those of the last step."""
        finished = self._step >= self._schedule.total_steps
        if finished and self._test is None:
            self._evaluate()
        weights = self._runtime.state().weights
        test = self._test if finished else {}
        speed = self._speed.examples_per_s
        return Result(finished, self._step, self._epoch, self._train, test, speed, weights)

    @property
    def _epoch(self) -> float:
        return self._step / self._order.steps_per_epoch

    def _stand_at(self, start: Checkpoint) -> None:
        self._step, self._train, self._test = start.step, start.metrics, start.test
        self._sums = np.array(start.sums)
        self._schedule = dataclasses.replace(self._schedule, skipped=frozenset(start.skipped))
        self._writer.go_back(self._step)
        self._log.go_back(self._step)

    def _loops(self) -> Iterator[tuple[Loop, tuple]]:
        with contextlib.closing(self._input.elements(self._schedule.loops(self._step))) as feed:
            for loop in self._schedule.loops(self._step):
                self._watch.progress(f"training at step {loop.first_step}")
                with self._speed:
                    elements = next(feed)
                yield loop, elements

    def _take(self, loop: Loop, elements: tuple) -> bool:
        self._test = None  # Of a step that is past.
        with self._speed:
            stopping = self._runtime.run(
                loop.first_step, loop.num_steps, elements, self._stop.requested
            )
        self._log.write(loop, elements)
        return stopping

    def _collect(self) -> bool:
        """Adds the sums of the last steps to those since the last report; false for bad numbers.

        A leader that saves by time comes here oftener than the others, and must decide as they do.
        """
        with self._speed:
            sums = self._runtime.collect()
        self._speed.add(sums[2])
        self._sums = self._sums + sums
        return nonfinite.are_finite(self._sums)

    def _report(self) -> None:
        self._train = means(self._sums, self._program.metric_name)
        self._sums = np.zeros(NUM_SUMS)
        values = self._train | {"examples_per_s": self._speed.lap()}
        self._writer.write("train", self._step, self._epoch, values)

    def _evaluate(self) -> None:
        self._watch.progress(f"evaluating after step {self._step}")
        name = self._program.metric_name
        self._test = evaluation.evaluate(self._runtime, self._test_input, name)
        self._writer.write("eval", self._step, self._epoch, self._test)

    def _save(self) -> bool:
        """Saves on the task that writes. False on all tasks where the state is not finite."""
        self._watch.progress(f"saving step {self._step}")
        state = self._runtime.state()
        if not nonfinite.is_finite(state):
            return False
        if self._saver:
            sums, skipped = tuple(map(float, self._sums)), tuple(sorted(self._schedule.skipped))
            threads = threads_lib.num_threads()
            self._saver.save(
                Checkpoint(self._step, state, self._train, sums, self._test, skipped, threads)
            )
        return True
