"""How does a run go from its first step to its last?

`train` starts the runtime from the newest checkpoint, and runs, reports, evaluates and saves where the
schedule says so. The loop is bookkeeping: `step.py` has the mathematics of a step, `schedule.py` says
what follows each loop, and `strategies/` how replicas agree.
"""

import contextlib
import dataclasses
from collections.abc import Generator
from typing import Any

import numpy as np
from absl import logging

from strategies.devices import threads as threads_lib
from strategies.runtime import State
from trainer.metrics.examples_log import ExamplesLog
from trainer.metrics.throughput import Throughput
from trainer.metrics.writers import MetricWriter
from trainer.order.schedule import Loop
from trainer.process.signals import StopRequest
from trainer.process.watchdog import Watchdog
from trainer.storage.background_save import BackgroundSaver
from trainer.storage.checkpoints import Checkpoint
from trainer.training import evaluation, nonfinite, resume
from trainer.training.evaluation import EvaluationInput
from trainer.training.parts import RunParts


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a run. `finished` is false where it was asked to stop before its last step.

    `validation` is empty where there is no validation split. `ended_by`: the field of the config that
    ended the run before its last step. `best_step`: of the best evaluation, where the run may stop early.
    """

    finished: bool
    step: int
    epochs: float
    train: dict[str, Any]
    test: dict[str, float]
    examples_per_s: float
    state: State
    validation: dict[str, float] = dataclasses.field(default_factory=dict)
    ended_by: str = ""
    best_step: int | None = None


def train(parts: RunParts, stop: StopRequest, watch: Watchdog) -> Result:
    """Trains to the last step of the schedule, from the newest checkpoint if there is one.

    Raises:
      CheckpointError, WorkdirError: the workdir cannot be written to.
      InputError: the run has skipped more batches than it may.
      NonFiniteError: a loss or the state became NaN or infinite, and the batch may not be skipped.
    """
    with _Run(parts, stop, watch) as run:
        while not run.train():
            run.roll_back()
        return run.result()


class _Run:
    """A run in progress: its step, its metrics since the last report, and its open files."""

    def __init__(self, parts: RunParts, stop: StopRequest, watch: Watchdog):
        self._runtime, self._workdir = parts.runtime, parts.workdir
        self._stop, self._watch = stop, watch
        self._checkpoints, computation = parts.checkpoints, parts.computation
        self._program, self._order = computation.program, computation.order
        self._schedule = computation.schedule
        self._train_input, self._evaluations = computation.train_input, computation.evaluations
        self._end = parts.end
        store = self._checkpoints.store
        start = resume.resume(self._checkpoints, self._program, self._runtime)
        self._runtime.start(
            self._program,
            start.state,
            self._train_input,
            computation.test_input.pipeline,
            self._schedule.total_steps,
        )
        self._writer = MetricWriter(parts.workdir)
        self._log = ExamplesLog(parts.examples_dir, self._runtime)
        self._saver = store and BackgroundSaver(store, self._checkpoints.every_s, self._flush_logs)
        self._throughput = Throughput()
        self._step: int
        self._test: dict[str, float] | None
        self._restart_from(start)

    def __enter__(self):
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        with contextlib.closing(self._writer), contextlib.closing(self._log):
            if self._saver:
                self._saver.__exit__(kind)

    def train(self) -> bool:
        """Trains to the last step, or until a stop. False where a number is not finite."""
        if self._test is None and self._schedule.evaluates_at(self._step):
            self._evaluate()  # The run was stopped before this evaluation.
        if self._end.reason:
            return True  # It had ended already.
        with contextlib.closing(self._loops()) as loops:
            for loop, inputs in loops:
                stopping = not loop.skip and self._run_steps(loop, inputs)
                self._step = loop.end_step
                if (loop.report or stopping) and not self._collect():
                    return False
                if loop.report:
                    self._report()
                if loop.evaluate and not stopping:
                    self._evaluate()
                must_save = loop.checkpoint or stopping or self._end.needs_checkpoint(self._step)
                if must_save and not self._save():
                    return False
                if self._saver and self._saver.is_due and self._collect():
                    self._save()
                if stopping:
                    self._end.stopped(self._runtime)
                if stopping or self._end.reason:
                    break
        return True

    def roll_back(self) -> None:
        """Finds the step whose numbers are not finite, and restarts before it, with its batch skipped.

        Raises:
          NonFiniteError: no batch may be skipped, or no more.
        """
        self._watch.progress(f"searching for non-finite numbers before step {self._step}")
        if self._saver:
            self._saver.flush()
        start = resume.resume(self._checkpoints, self._program, self._runtime)
        self._runtime.restore(start.state)
        schedule = self._schedule
        found = nonfinite.find(self._runtime, self._train_input, schedule, start.step, self._step)
        if found is None:
            logging.warning("the steps were finite when repeated; resuming at step %d", self._step)
            self._sums = np.zeros(self._program.num_sums)
            return
        may_skip = len(schedule.skipped) < self._checkpoints.max_skipped
        nonfinite.report(found, self._order, self._workdir, start.step, may_skip)
        self._runtime.restore(start.state)
        skipped = {*schedule.skipped, found.step}
        self._restart_from(dataclasses.replace(start, skipped=tuple(sorted(skipped))))

    def result(self) -> Result:
        """The result so far; the state is that of the last step, or of the best one where asked."""
        finished = self._step >= self._schedule.total_steps or bool(self._end.reason)
        validation, test = self._final_metrics() if finished else ({}, {})
        state = self._runtime.state()
        return Result(
            finished,
            self._step,
            self._epoch,
            self._train,
            test,
            self._throughput.examples_per_s,
            state,
            validation,
            self._end.reason if finished else "",
            self._end.best and self._end.best.step,
        )

    @property
    def _epoch(self) -> float:
        return self._step / self._order.steps_per_epoch

    def _restart_from(self, start: Checkpoint) -> None:
        self._step, self._train, self._test = start.step, start.metrics, start.test
        self._sums = np.array(start.sums)
        self._end.resume(start)
        self._schedule = dataclasses.replace(self._schedule, skipped=frozenset(start.skipped))
        self._writer.truncate_after_step(self._step)
        self._log.truncate_from_step(self._step)

    def _loops(self) -> Generator[tuple[Loop, tuple], None, None]:
        loops = self._schedule.loops(self._step)
        inputs = self._train_input.loop_inputs(self._schedule.loops(self._step))
        with contextlib.closing(inputs):
            for loop in loops:
                self._watch.progress(f"training at step {loop.first_step}")
                with self._throughput:
                    loop_input = next(inputs)
                yield loop, loop_input

    def _run_steps(self, loop: Loop, inputs: tuple) -> bool:
        self._test = None  # It was of an earlier step.
        with self._throughput:
            stopping = self._runtime.run(
                loop.first_step,
                loop.num_steps,
                inputs,
                self._stop.requested or self._end.time_is_up,
            )
        self._log.write(loop, inputs)
        return stopping

    def _collect(self) -> bool:
        """Adds the sums of the last steps to those since the last report; false if not finite.

        It checks the total, not the last steps' sums: a leader that saves by time collects more often
        than the other tasks, and must reach the same decision.
        """
        with self._throughput:
            sums = self._runtime.collect()
        self._throughput.add(sums[-1])
        self._sums = self._sums + sums
        return nonfinite.sums_are_finite(self._sums)

    def _report(self) -> None:
        self._train = self._program.means(self._sums)
        self._sums = np.zeros(self._program.num_sums)
        values = self._train | {
            "learning_rate": self._program.learning_rate(
                self._schedule.updates_before(self._step - 1)
            ),
            "examples_per_s": self._throughput.lap(),
        }
        self._writer.write("train", self._step, self._epoch, values)

    def _evaluate(self) -> dict[str, float]:
        self._test = metrics = self._metrics_of(self._evaluations[0], self._step)
        self._end.evaluated(self._step, metrics)
        return metrics

    def _final_metrics(self) -> tuple[dict[str, float], dict[str, float]]:
        """Of the validation split, if there is one, and of the test split."""
        metrics = self._evaluate() if self._test is None else self._test
        last = self._end.last_step(self._step)
        if last != self._step:
            self._restore(last)
            metrics = self._metrics_of(self._evaluations[0], last)
        if len(self._evaluations) == 1:
            return {}, metrics
        return metrics, self._metrics_of(self._evaluations[-1], last)

    def _restore(self, step: int) -> None:
        """Replaces the state by that of an earlier checkpoint."""
        logging.info("ending with the weights of step %d, the best evaluation", step)
        if self._saver:
            self._saver.flush()
        state = resume.state_of(step, self._checkpoints, self._program, self._runtime)
        self._runtime.restore(state)

    def _metrics_of(self, split: EvaluationInput, step: int) -> dict[str, float]:
        self._watch.progress(f"evaluating step {step}")
        metrics = evaluation.evaluate(self._runtime, split, self._program)
        self._writer.write(split.event, step, step / self._order.steps_per_epoch, metrics)
        return metrics

    def _flush_logs(self) -> None:
        """What a checkpoint's steps have logged is on the disk before it: nothing repeats them."""
        self._writer.flush()
        self._log.flush()

    def _save(self) -> bool:
        """Saves, on the task that writes. False, on all tasks, where the state is not finite."""
        self._watch.progress(f"saving step {self._step}")
        state = self._runtime.state()
        if not nonfinite.state_is_finite(state):
            return False
        if self._saver:
            sums, skipped = tuple(map(float, self._sums)), tuple(sorted(self._schedule.skipped))
            threads = threads_lib.num_threads()
            checkpoint = Checkpoint(
                self._step, state, self._train, sums, self._test, skipped, threads
            )
            best, seconds = self._end.best, self._end.seconds
            self._saver.save(dataclasses.replace(checkpoint, best=best, seconds=seconds))
        return True
