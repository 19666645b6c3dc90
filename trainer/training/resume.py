"""From which step, and with which state, does a run start?

From the newest usable checkpoint, or from step 0. Only the leader reads a workdir; it broadcasts what it
found, so that all tasks start from one step with one state.
"""

import dataclasses

import numpy as np
from absl import logging

from strategies.devices import threads
from strategies.errors import InputError
from strategies.runtime import Runtime
from strategies.state import State
from trainer.model.step import TrainingProgram
from trainer.process import report
from trainer.storage.checkpoints import Checkpoint
from trainer.training.parts import CheckpointPolicy

_NO_BEST = (0.0, -1, 0)


def resume(policy: CheckpointPolicy, program: TrainingProgram, runtime: Runtime) -> Checkpoint:
    """The checkpoint that every task starts from: the leader's newest, or one of step 0.

    All tasks must call this together: it is a broadcast.

    Raises:
      InputError: the run has skipped more batches than the policy allows.
      SavedWeightsError: the weights to start with cannot be used.
    """
    found = None
    if policy.store:
        policy.store.remove_leftovers()  # A run that resumes at its last step does not save again.
        found = policy.store.newest()
    if found is None:
        found = Checkpoint(0, policy.initial_state(program), sums=(0.0,) * program.num_sums)
    max_skipped = policy.max_skipped
    if len(found.skipped) > max_skipped:
        raise InputError(
            f"`train.skip_bad_batches` must be at least {len(found.skipped)}, the number that this run "
            f"has skipped. Received: {max_skipped}; raise it, or choose another --workdir."
        )
    skipped = np.full(max_skipped, -1)  # A broadcast needs one shape on all tasks.
    skipped[: len(found.skipped)] = found.skipped
    best = found.best or _NO_BEST
    position, best, seconds, sums, skipped = runtime.broadcast(
        (
            np.array([found.step, found.test is not None]),
            np.array(best, np.float64),
            np.array([found.seconds]),
            np.array(found.sums),
            skipped,
        )
    )
    state = runtime.share(program.cut_axes, found.state)
    step, is_tested = position.tolist()
    if step:
        report.common("resuming at step %d", step)
    if found.threads not in (0, threads.num_threads()):
        logging.info(
            "the checkpoint was saved with %d threads for each operation, and this process has %d: on "
            "some processors the last bits then differ; `train.threads_per_operation` sets the number",
            found.threads,
            threads.num_threads(),
        )
    return dataclasses.replace(
        found,
        step=step,
        state=state,
        sums=tuple(sums.tolist()),
        # Only the leader needs the test metrics; all tasks must know whether there are any.
        test=(found.test or {}) if is_tested else None,
        skipped=tuple(skipped[skipped >= 0].tolist()),
        best=(float(best[0]), int(best[1]), int(best[2])) if best[1] >= 0 else None,
        seconds=float(seconds[0]),
    )


def state_of(
    step: int, policy: CheckpointPolicy, program: TrainingProgram, runtime: Runtime
) -> State:
    """The state of the leader's checkpoint of `step`, on every task: it is a broadcast.

    Raises CheckpointError where that checkpoint cannot be used.
    """
    state = policy.store.read(step).state if policy.store else policy.initial_state(program)
    return runtime.share(program.cut_axes, state)
