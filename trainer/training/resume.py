"""Where does a run stand when it starts, or starts again?

The leader looks into its workdir and tells the others, who need none: all begin at one step, with one
state. What a checkpoint must have in common with the run, so that it can go on from it, is said here.
"""

import dataclasses

import numpy as np
from absl import logging

from strategies.devices import threads
from strategies.runtime import Runtime, State
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.model.step import TrainingProgram
from trainer.storage.checkpoints import Checkpoint, CheckpointStore, Layout
from trainer.storage.workdir import Workdir


def checkpoint_store(
    config: ExperimentConfig, program: TrainingProgram, dataset: Dataset, workdir: Workdir | None
) -> CheckpointStore | None:
    """The checkpoints of this experiment in a workdir; None where there is no workdir."""
    if not workdir:
        return None
    slots = [program.slot_names(weight.shape) for weight in program.initial_weights()]
    decisive = {
        name: value
        for name, value in config_lib.flatten(config).items()
        if name not in config_lib.TRAJECTORY_FREE
    }
    return CheckpointStore(
        workdir.checkpoints,
        Layout(program.weight_names, slots),
        config.train.keep_checkpoints,
        config.train.keep_best,
        origin=decisive | {"data": dataset.fingerprint},
        defaults={field.name: field.default for field in config_lib.fields()},
    )


def resume(
    store: CheckpointStore | None,
    program: TrainingProgram,
    runtime: Runtime,
    config: ExperimentConfig,
) -> Checkpoint:
    """Where every task stands: at the newest checkpoint its leader found, or at step 0.

    Raises:
      ConfigError: the run left out more batches than the config allows.
    """
    weights = program.initial_weights()
    fresh = Checkpoint(0, State(weights, program.initial_slots(weights)))
    found = (store and store.newest()) or fresh
    room = config.train.skip_bad_batches
    if len(found.skipped) > room:
        raise ConfigError(
            f"`train.skip_bad_batches` must be at least {len(found.skipped)}, as many as this run "
            f"has left out. Received: {room}; give it again, or choose another --workdir."
        )
    skipped = np.full(room, -1)  # Of one shape on all tasks, as what is shared must be.
    skipped[: len(found.skipped)] = found.skipped
    place, weights, slots, sums, skipped = runtime.broadcast(
        (
            np.array([found.step, found.test is not None]),
            found.state.weights,
            found.state.slots,
            np.array(found.sums),
            skipped,
        )
    )
    step, is_tested = place.tolist()
    if step:
        logging.info("resuming at step %d", step)
    if found.threads not in (0, threads.num_threads()):
        logging.info(
            "it was saved with %d threads a process, and here are %d: of some sizes of blocks the last "
            "bits differ then; TF_NUM_INTRAOP_THREADS sets the number",
            found.threads,
            threads.num_threads(),
        )
    return dataclasses.replace(
        found,
        step=step,
        state=State(weights, slots),
        sums=tuple(sums.tolist()),
        # The figures are with who writes them; that they are there all must know.
        test=(found.test or {}) if is_tested else None,
        skipped=tuple(skipped[skipped >= 0].tolist()),
    )
