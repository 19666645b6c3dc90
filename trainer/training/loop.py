"""How does a run go from its first step to its last?

`train` starts the runtime from the newest checkpoint, and runs, reports, evaluates and saves where the
schedule says so. The loop is bookkeeping: `step.py` has the mathematics of a step, `schedule.py` says
what follows each loop, and `strategies/` how replicas agree.
"""

import contextlib
import dataclasses
import time
from collections.abc import Generator, Iterator, Sequence

import numpy as np
from absl import logging

from strategies.devices import threads as threads_lib
from strategies.state import State
from trainer.metrics.examples_log import ExamplesLog
from trainer.metrics.throughput import Throughput
from trainer.metrics.writers import MetricWriter
from trainer.order.schedule import Loop
from trainer.process import report
from trainer.process.signals import StopRequest
from trainer.process.watchdog import Watchdog
from trainer.storage.checkpoints import Checkpoint
from trainer.training import evaluation, loop_inputs, nonfinite, resume, weights_digest
from trainer.training.evaluation import EvaluationInput
from trainer.training.parts import RunParts
from trainer.training.result import Result
from trainer.training.saving import Saving


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

    _step: int
    _test: dict[str, float] | None  # The metrics of this step, once they are known.

    def __init__(self, parts: RunParts, stop: StopRequest, watch: Watchdog):
        self._runtime, self._workdir = parts.runtime, parts.workdir
        self._stop, self._watch = stop, watch
        self._checkpoints, computation = parts.checkpoints, parts.computation
        self._program, self._order = computation.program, computation.order
        self._schedule = dataclasses.replace(computation.schedule, cuts=parts.profile.cuts)
        self._train_input, self._evaluations = computation.train_input, computation.evaluations
        self._balancing, self._end = computation.balancing, parts.end
        self._timeline, self._profile = parts.timeline, parts.profile
        self._timeline.exchange_s = lambda: self._runtime.exchange_s
        start = resume.resume(self._checkpoints, self._program, self._runtime)
        self._runtime.start(
            self._program,
            start.state,
            self._train_input,
            computation.test_input.pipeline,
            self._schedule.total_steps,
        )
        self._writer = MetricWriter(parts.workdir, trackers=parts.trackers)
        if parts.details:
            self._writer.graph(lambda: evaluation.graph(computation.test_input, self._program))
        self._log = ExamplesLog(parts.examples_dir, self._runtime, self._train_input.rows_per_step)
        look = self._show_weights if parts.details else None
        self._saving = Saving(parts, self._flush_logs, look)
        self._throughput = Throughput()
        self._timeline.enter("other")
        self._restart_from(start)

    def __enter__(self):
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        self._profile.stop()
        with contextlib.closing(self._writer), contextlib.closing(self._log):
            self._saving.close(kind)

    def train(self) -> bool:
        """Trains to the last step, or until a stop. False where a number is not finite."""
        if self._test is None and self._schedule.evaluates_at(self._step):
            self._evaluate()  # The run was stopped before this evaluation.
        if self._end.reason:
            return True  # It had ended already.
        with contextlib.closing(self._loops()) as loops:
            for loop, inputs in loops:
                self._profile.before(loop.first_step)
                stopping = not loop.skip and self._run_steps(loop, inputs)
                self._step = loop.end_step
                is_traced = self._profile.ends_at(self._step)
                if (loop.report or stopping or is_traced) and not self._collect():
                    return False
                if is_traced:
                    self._profile.stop()
                if loop.report:
                    self._report()
                if loop.evaluate and not stopping:
                    self._evaluate()
                must_save = loop.checkpoint or stopping or self._end.needs_checkpoint(self._step)
                if must_save and not self._save():
                    return False
                if self._saving.is_due and self._collect():
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
        self._note("searching for non-finite numbers before", self._step)
        self._saving.flush()
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
        self._timeline.note("skipped", step=found.step)
        self._runtime.restore(start.state)
        skipped = {*schedule.skipped, found.step}
        self._restart_from(dataclasses.replace(start, skipped=tuple(sorted(skipped))))

    def result(self) -> Result:
        """The result so far; the state is that of the last step, or of the best one where asked."""
        finished = self._step >= self._schedule.total_steps or bool(self._end.reason)
        validation, test = self._final_metrics() if finished else ({}, {})
        return Result(
            finished,
            self._step,
            self._epoch,
            self._train,
            test,
            self._throughput.examples_per_s,
            (state := self._runtime.view()),
            validation,
            self._end.reason_at(self._step) if finished else "",
            self._end.best and self._end.best.step,
            self._end.spent(self._step) if finished else {},
            weights_digest.of(self._runtime, self._program, state) if finished else "",
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
        self._timeline.resumed(self._step)

    def _loops(self) -> Generator[tuple[Loop, tuple], None, None]:
        return loop_inputs.follow(
            self._schedule, self._step, lambda: self._train_input, self._waiting
        )

    @contextlib.contextmanager
    def _waiting(self, loop: Loop) -> Iterator[None]:
        self._note("training at", loop.first_step)
        with self._throughput, self._timeline.during("input"):
            yield

    def _run_steps(self, loop: Loop, inputs: tuple) -> bool:
        self._test = None  # It was of an earlier step.
        began = time.perf_counter()
        with self._throughput, self._timeline.during("compute", compiles=True):
            stopping = self._runtime.run(
                loop.first_step,
                loop.num_steps,
                inputs,
                self._stop.requested or self._end.time_is_up,
            )
        self._timeline.ran(loop.end_step, time.perf_counter() - began)
        self._log.write(loop, inputs)
        return stopping

    def _collect(self) -> bool:
        """Adds the sums of the last steps to those since the last report; false if not finite.

        It checks the total, not the last steps' sums: a leader that saves by time collects more often
        than the other tasks, and must reach the same decision.
        """
        with self._throughput, self._timeline.during("compute"):
            sums = self._runtime.collect()
        self._throughput.add(sums[-1])
        self._sums = self._sums + sums
        return nonfinite.sums_are_finite(self._sums)

    def _report(self) -> None:
        self._train = self._program.means(self._sums)
        self._sums = np.zeros(self._program.num_sums)
        updates = self._schedule.updates_before(self._step - 1)
        values = self._train | {
            "learning_rate": self._program.learning_rate(updates),
            "examples_per_s": self._throughput.lap(),
            **self._runtime.measures(),
        }
        self._writer.write("train", self._step, self._epoch, values)
        if measured := self._balancing.at_report(self._runtime):
            self._writer.write("balance", self._step, self._epoch, measured)
            self._move_blocks()

    def _move_blocks(self) -> None:
        runs = self._balancing.runs
        if runs != self._train_input.runs and self._step < self._schedule.total_steps:
            self._train_input = self._train_input.with_runs(runs)
            self._evaluations = tuple(one.with_runs(runs) for one in self._evaluations)
            self._runtime.move_blocks(self._train_input, self._evaluations[-1].pipeline)

    def _evaluate(self) -> dict[str, float]:
        self._test = self._metrics_of(self._evaluations[0], self._step)
        self._end.evaluated(self._step, self._test)
        return self._test

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
        report.common("ending with the weights of step %d, the best evaluation", step)
        self._saving.flush()
        found = resume.state_of(step, self._checkpoints, self._program, self._runtime)
        self._runtime.restore(found)

    def _metrics_of(self, split: EvaluationInput, step: int) -> dict[str, float]:
        self._note("evaluating", step)
        with self._timeline.during("evaluate", compiles=True):
            metrics = evaluation.evaluate(self._runtime, split, self._program)
        epoch, shown = step / self._order.steps_per_epoch, metrics | self._end.spent(step)
        self._writer.write(split.event, step, epoch, shown)
        return metrics

    def _note(self, doing: str, step: int) -> None:
        """Says what the loop does now, to the watchdog and on the screen."""
        self._watch.progress(f"{doing} step {step}")
        report.progress(
            doing.removesuffix(" at"),
            step=step,
            total_steps=self._schedule.total_steps,
            epoch=step / self._order.steps_per_epoch,
            examples=step * self._order.global_batch_size,
        )

    def _flush_logs(self) -> None:
        """What a checkpoint's steps have logged is on the disk before it: nothing repeats them."""
        self._writer.flush()
        self._log.flush()

    def _show_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._writer.histograms(self._step, self._program.weight_names, weights)

    def _save(self) -> bool:
        """Saves, on the task that writes. False, on all tasks, where the state is not finite."""
        self._note("saving", self._step)
        with self._timeline.during("save"):
            return self._saving.save(self._checkpoint)

    def _checkpoint(self, state: State) -> Checkpoint:
        return Checkpoint(
            self._step,
            state,
            self._train,
            tuple(map(float, self._sums)),
            self._test,
            tuple(sorted(self._schedule.skipped)),
            threads_lib.num_threads(),
            self._end.best,
            self._end.seconds,
        )
