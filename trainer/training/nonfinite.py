"""At which step did a number become NaN or infinite, and on which examples?

The loop checks the losses when it reports, and the state before it saves. If a number is not finite, the
run restores its last checkpoint and repeats the same steps one by one: steps are deterministic, so the
same batch fails again. All tasks have the same sums, so all tasks do this together.
"""

import dataclasses

import numpy as np
from absl import logging

from strategies.errors import InputError
from strategies.runtime import Runtime
from strategies.state import State
from trainer.data.input_pipeline import InputPipeline
from trainer.order.order import Order
from trainer.order.sample_order import PADDING
from trainer.order.schedule import Loop, Schedule
from trainer.storage.atomic_files import write_json
from trainer.storage.workdir import Workdir

_MAX_SHOWN = 16  # Examples in a message; the file lists all.


class NonFiniteError(InputError):
    """A loss or the state became NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class NonFiniteStep:
    """The first step whose loss, or the state after it, was NaN or infinite.

    Replicas that train apart are only seen after a whole round: then it is the first of `num_steps`.
    """

    step: int
    what: str
    num_steps: int = 1


def sums_are_finite(sums: np.ndarray) -> bool:
    return bool(np.isfinite(sums).all())


def state_is_finite(state: State) -> bool:
    """Whether every weight, every slot and all else is finite."""
    return all(np.isfinite(array).all() for array in state.flat_arrays)


def find(
    runtime: Runtime, pipeline: InputPipeline, schedule: Schedule, start: int, end: int
) -> NonFiniteStep | None:
    """The NonFiniteStep in [start, end), or None where all of these steps were finite this time.

    The runtime must hold the state after `start` steps. With parameter servers the steps are repeated
    one after another, which may change their results; so there they may all be finite.
    """
    for loop in dataclasses.replace(schedule, total_steps=end).loops(start):
        before = runtime.state()
        if _first_nonfinite(runtime, pipeline, [loop]):
            runtime.restore(before)
            if found := _first_nonfinite(runtime, pipeline, schedule.periods(loop)):
                return found
    return None


def report(
    found: NonFiniteStep,
    order: Order,
    workdir: Workdir | None,
    checkpoint_step: int,
    is_skipped: bool,
) -> None:
    """Logs the step and its examples, and lists all of them in `bad_batch-STEP.json` in the workdir.

    `checkpoint_step` is that of the last checkpoint, 0 where there is none.

    Raises:
      NonFiniteError: the batch is not to be skipped.
    """
    batch = order.steps_batches(found.step, found.num_steps)
    examples = batch[batch != PADDING].tolist()
    if workdir:
        record = {**dataclasses.asdict(found), "examples": examples, "checkpoint": checkpoint_step}
        write_json(workdir.path / f"bad_batch-{found.step}.json", record)
    shown = ", ".join(map(str, examples[:_MAX_SHOWN])) + (", ..." if examples[_MAX_SHOWN:] else "")
    kept = (
        f"the last good checkpoint is of step {checkpoint_step}"
        if checkpoint_step
        else "no checkpoint was saved yet"
    )
    at = f"at step {found.step}, on the batch"
    if found.num_steps > 1:
        at = f"between steps {found.step} and {found.step + found.num_steps}, on the batches"
    message = f"{found.what} {at} of examples {shown}; {kept}"
    if not is_skipped:
        raise NonFiniteError(
            f"{message}. Check these examples, lower `optimizer.learning_rate`, or set "
            "`train.skip_bad_batches` to roll back and skip such batches."
        )
    logging.warning("%s. Resuming at step %d to skip that batch", message, checkpoint_step)


def _first_nonfinite(
    runtime: Runtime, pipeline: InputPipeline, loops: list[Loop]
) -> NonFiniteStep | None:
    for loop, inputs in zip(loops, pipeline.loop_inputs(iter(loops)), strict=True):
        if loop.skip:
            continue
        runtime.run(loop.first_step, loop.num_steps, inputs, False)
        sums = runtime.collect()
        if not sums_are_finite(sums):
            what = f"the loss became {sums[0]}"
            return NonFiniteStep(loop.first_step, what, loop.num_steps)
        if not runtime.all_agree(state_is_finite(runtime.state())):
            what = "the weights or the optimizer's state became infinite"
            return NonFiniteStep(loop.first_step, what, loop.num_steps)
    return None
