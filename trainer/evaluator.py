"""How do checkpoints fare on the test set, while others train?

The task of an `evaluator`: it takes no part in training, follows the workdir, and evaluates every
checkpoint as it appears, in `evaluator.jsonl`.
"""

import json
import time

from absl import logging

from strategies import choose
from strategies.choose import Choice
from strategies.cluster import ClusterSpec
from strategies.devices import local_devices
from strategies.errors import EXIT_DONE, Resumable
from strategies.runtime import State
from trainer import datasets, evaluate, resume, tensorflow_import, train
from trainer import workdir as workdir_lib
from trainer.checkpoint import CheckpointError, CheckpointStore
from trainer.cli import EvaluateOptions
from trainer.config import ExperimentConfig
from trainer.health import Health
from trainer.metric_writers import MetricWriter
from trainer.steps import TrainingProgram
from trainer.stop import StopRequest
from trainer.workdir import Workdir

SILENCE_S = 600.0  # Without a new checkpoint for so long, the trainers are taken for gone.
_LOOK_EVERY_S = 0.5


class CheckpointEvaluator:
    """Evaluates checkpoints of one experiment on this machine's devices."""

    def __init__(self, config: ExperimentConfig, workdir: Workdir, devices: int):
        with tensorflow_import.quietly():  # And first: devices in use cannot be set up any more.
            names = local_devices(devices)
        self._dataset = datasets.load(config.data)
        self._program = TrainingProgram(config, self._dataset)
        self._runtime = choose.create(
            Choice("mirrored", "a checkpoint is evaluated on one machine"),
            ClusterSpec(),
            names,
        )
        self._test = evaluate.test_input(self._dataset, self._runtime)
        weights = self._program.initial_weights()
        state = State(weights, self._program.initial_slots(weights))
        pipeline = self._test.pipeline
        self._runtime.start(self._program, state, pipeline, pipeline, num_steps=0)
        self.store = resume.checkpoint_store(config, self._program, self._dataset, workdir)
        self.steps_per_epoch = -(-len(self._dataset.train) // config.data.global_batch_size)
        self.total_steps = train.total_steps(config, self.steps_per_epoch)

    def evaluate(self, step: int) -> dict[str, float]:
        """The test metrics of the checkpoint of `step`. Raises CheckpointError."""
        self._runtime.restore(self.store.read(step).state)
        return evaluate.evaluate(self._runtime, self._test, self._program.metric_name)


def follow(config: ExperimentConfig, workdir: Workdir, stop: StopRequest, devices: int) -> int:
    """Evaluates checkpoints until the run's summary tells of its last step; returns the exit code.

    Raises:
      Resumable: no checkpoint came for `SILENCE_S`.
    """
    evaluator = CheckpointEvaluator(config, workdir, devices)
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


def _report(evaluator: CheckpointEvaluator, writer: MetricWriter, step: int) -> None:
    try:
        metrics = evaluator.evaluate(step)
    except CheckpointError as error:  # Removed meanwhile, as an old one, or damaged.
        logging.warning("%s", error)
        return
    writer.write("eval", step, step / evaluator.steps_per_epoch, metrics)


def evaluate_once(options: EvaluateOptions) -> int:
    """`python -m trainer evaluate`: prints the test metrics of one checkpoint, as one JSON line."""
    with workdir_lib.at(options.workdir).followed() as workdir:
        evaluator = CheckpointEvaluator(workdir.read_config(), workdir, options.devices)
        step = options.checkpoint or _found_step(evaluator.store, workdir, options.best)
        print(json.dumps({"step": step, **evaluator.evaluate(step)}))
    return EXIT_DONE


def _found_step(store: CheckpointStore, workdir: Workdir, is_best: bool) -> int:
    found = store.best() if is_best else store.newest()
    if found is None:
        lacks = "no checkpoint that was evaluated" if is_best else "no checkpoint"
        raise CheckpointError(
            f"`--workdir` holds {lacks}. Received: {workdir.name!r}; train there first."
        )
    return found.step
