"""How do checkpoints fare on the test set, while others train?

The task of an `evaluator`: it takes no part in training, follows the workdir, and evaluates every
checkpoint as it appears, in `evaluator.jsonl`. And `evaluate`, which does so once. Both ask for what they
compute with before TensorFlow is imported, which a TPU's package can make fatal.
"""

import json
import time

from absl import logging

from strategies import tensorflow_import
from strategies.choose import Choice
from strategies.devices import for_strategy
from strategies.errors import EXIT_DONE, Resumable
from trainer.cli.options import EvaluateOptions, TrainOptions
from trainer.config.schema import ExperimentConfig
from trainer.metrics.writers import MetricWriter
from trainer.process import watchdog
from trainer.process.health import Health
from trainer.process.signals import StopRequest
from trainer.storage.checkpoints import CheckpointError, CheckpointStore
from trainer.storage.workdir import Workdir

SILENCE_S = 600.0  # Without a new checkpoint for so long, the trainers are taken for gone.
_LOOK_EVERY_S = 0.5


def create_evaluator(
    options: TrainOptions | EvaluateOptions,
    choice: Choice,
    config: ExperimentConfig,
    workdir: Workdir,
):
    """On the TPU where `choice` is one, else on this machine's devices. Raises ClusterError."""
    if choice.strategy != "tpu":
        choice = Choice("mirrored", "a checkpoint is evaluated on one machine")
    devices = for_strategy.local_devices(options.devices, choice)
    with tensorflow_import.quietly():
        from trainer.training import assemble
    return assemble.checkpoint_evaluator(config, choice, devices, workdir)


def run_evaluator(
    options: TrainOptions,
    choice: Choice,
    config: ExperimentConfig,
    workdir: Workdir,
    stop: StopRequest,
) -> int:
    """Evaluates checkpoints until the run's summary tells of its last step; returns the exit code.

    Raises:
      ClusterError: there is nothing here to evaluate on.
      Resumable: no checkpoint came for `SILENCE_S`.
    """
    with watchdog.Watchdog(options.stall_timeout_s):
        evaluator = create_evaluator(options, choice, config, workdir)
    writer, health = None, Health.from_env()
    last, heard = _last_evaluated(workdir), time.monotonic()
    while not stop.requested:
        health.note()
        workdir.refresh()
        is_over = workdir.finished_steps() >= evaluator.total_steps  # Before looking: see below.
        for step in _newer(evaluator.store, last):
            health.note()
            last, heard = step, time.monotonic()
            writer = writer or MetricWriter(workdir, "evaluator")
            _report(evaluator, writer, step)
        if is_over:
            return EXIT_DONE
        if time.monotonic() - heard > SILENCE_S:
            raise Resumable(
                f"no checkpoint appeared in {workdir.name!r} for {SILENCE_S:g} s; "
                "start the trainers, with the same --workdir, and run again."
            )
        time.sleep(_LOOK_EVERY_S)  # The folder may be on another machine, where no event tells.
    raise Resumable("the evaluator was asked to stop; run the same command again")


def _last_evaluated(workdir: Workdir) -> int:
    """The last step that an evaluator before this one came to; -1 where there was none."""
    try:
        lines = (workdir.path / "evaluator.jsonl").read_text().splitlines()
        return max((json.loads(line)["step"] for line in lines), default=-1)
    except (OSError, ValueError, KeyError, TypeError):
        return -1  # Then all checkpoints are evaluated, some perhaps for the second time.


def _newer(store: CheckpointStore, last: int) -> list[int]:
    return [step for step in store.steps() if step > last]


def _report(evaluator, writer: MetricWriter, step: int) -> None:
    try:
        metrics = evaluator.evaluate(step)
    except CheckpointError as error:  # Removed meanwhile, as an old one, or damaged.
        logging.warning("%s", error)
        return
    writer.write("eval", step, step / evaluator.steps_per_epoch, metrics)
