"""How good are the checkpoints on the validation or test split, while others train?

An `evaluator` task measures each: it follows the workdir, evaluates every checkpoint that appears, and
writes `evaluator.jsonl`. The command `evaluate` does so once. Both select their devices before TensorFlow
is imported, which ends the process where a TPU's package is installed without a TPU.
"""

import time

from absl import logging

from strategies import tensorflow_import
from strategies.choose import Choice
from strategies.devices import for_strategy
from strategies.errors import EXIT_DONE, Resumable
from trainer.cli.options import EvaluateOptions, TrainOptions
from trainer.config.schema import ExperimentConfig
from trainer.data import recipe_data
from trainer.metrics.writers import MetricWriter
from trainer.process import report, watchdog
from trainer.process.health import Health
from trainer.storage.checkpoints import CheckpointError, CheckpointStore
from trainer.storage.safe_reading import parse_json
from trainer.storage.workdir import Workdir
from trainer.task import already_finished, step_faults
from trainer.task.context import TaskContext

NO_CHECKPOINT_TIMEOUT_S = 600.0  # Then the trainers must have died.
_POLL_EVERY_S = 0.5  # The folder may be on another machine, so no event announces a file.


def create_evaluator(
    options: TrainOptions | EvaluateOptions,
    choice: Choice,
    config: ExperimentConfig,
    workdir: Workdir,
):
    """A `CheckpointEvaluator` on the TPU of `choice`, or on this machine's devices.

    Raises ClusterError where these devices are not available.
    """
    choice = choice.for_evaluation()
    recipe_data.recipe_of(config)  # It may set the number of threads, before devices are found.
    devices = for_strategy.local_devices(options.devices, choice)
    with tensorflow_import.quietly():
        from trainer.training import assemble
    return assemble.checkpoint_evaluator(config, choice, devices, workdir)


def run_evaluator(task: TaskContext, workdir: Workdir) -> int:
    """Evaluates checkpoints until the run has finished; returns the exit code.

    Raises:
      ClusterError: the devices to evaluate on are not available.
      Resumable: no checkpoint appeared for `NO_CHECKPOINT_TIMEOUT_S`, or a stop was requested.
    """
    with watchdog.Watchdog(task.options.stall_timeout_s):
        evaluator = create_evaluator(task.options, task.choice, task.config, workdir)
    with task.compile_cache.in_use(repr(task.config.model)):
        return _follow(task, evaluator, workdir)


def _follow(task: TaskContext, evaluator, workdir: Workdir) -> int:
    writer, health = None, Health.from_env()
    last_step, last_time = _last_evaluated(workdir), time.monotonic()
    logging.info(
        "evaluating the checkpoints in %s after step %d, until step %d; the next one is awaited for %g s",
        workdir.name,
        max(last_step, 0),
        evaluator.total_steps,
        NO_CHECKPOINT_TIMEOUT_S,
    )
    while not task.stop.requested:
        health.record_progress()
        workdir.refresh()
        # Asked before the checkpoints are listed, so that none is missed that came in between.
        is_finished = (
            workdir.finished_steps() >= evaluator.total_steps
            or already_finished.ended_early(workdir.read_summary(), task.config)
        )
        report.progress("waiting for checkpoints")
        for step in _newer(evaluator.store, last_step):
            report.progress("evaluating", step=step)
            health.record_progress()
            last_step, last_time = step, time.monotonic()
            writer = writer or MetricWriter(workdir, "evaluator")
            with step_faults.named(task.config):
                _evaluate(evaluator, writer, step)
        if is_finished:
            report.result(
                f"done | the run has finished; evaluated its checkpoints to step {last_step}"
            )
            return EXIT_DONE
        if time.monotonic() - last_time > NO_CHECKPOINT_TIMEOUT_S:
            raise Resumable(
                f"no checkpoint appeared in {workdir.name!r} for {NO_CHECKPOINT_TIMEOUT_S:g} s; "
                "start the trainers with the same --workdir, and run the same command again."
            )
        time.sleep(_POLL_EVERY_S)
    raise Resumable("the evaluator was asked to stop; run the same command again to resume")


def _last_evaluated(workdir: Workdir) -> int:
    """The last step that an earlier evaluator has evaluated; -1 if there is none."""
    try:
        lines = (workdir.path / "evaluator.jsonl").read_bytes().splitlines()
        return max((int(parse_json(line)["step"]) for line in lines), default=-1)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return -1  # Then all checkpoints are evaluated, some perhaps for the second time.


def _newer(store: CheckpointStore, last_step: int) -> list[int]:
    return [step for step in store.steps() if step > last_step]


def _evaluate(evaluator, writer: MetricWriter, step: int) -> None:
    try:
        metrics = evaluator.evaluate(step, evaluator.monitored)
    except CheckpointError as error:
        # Damaged, or removed in the meantime because newer ones exist.
        logging.warning("%s", error)
        return
    writer.write(evaluator.monitored.event, step, step / evaluator.steps_per_epoch, metrics)
