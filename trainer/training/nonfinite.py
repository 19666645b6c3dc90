"""At which step did the numbers go bad, and on which examples?

Losses are looked at where a loop reports. If their sum is NaN or infinite, or the state about to be saved
is, the run goes back to its last checkpoint and takes the same steps again, looking closer: steps are
deterministic, so it comes by the same place. All tasks have the same sums, so all do this together.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging

from strategies.errors import InputError
from strategies.runtime import Runtime, State
from trainer.order.sample_order import PADDING, SampleOrder
from trainer.order.schedule import Loop, Schedule
from trainer.storage.atomic_files import write_json
from trainer.storage.workdir import Workdir

_SHOWN = 16

Elements = Callable[[Iterator[Loop]], Iterator[tuple]]


class BadNumbersError(InputError):
    """A loss or the state became NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class BadStep:
    """The first step of which something was NaN or infinite: its loss, or the state after it."""

    step: int
    what: str


def are_finite(sums: np.ndarray) -> bool:
    return bool(np.isfinite(sums).all())


def is_finite(state: State) -> bool:
    """Whether every weight and slot is a number that training can go on from."""
    arrays = (*state.weights, *(slot for own in state.slots for slot in own))
    return all(np.isfinite(array).all() for array in arrays)


def find(
    runtime: Runtime, elements: Elements, schedule: Schedule, start: int, end: int
) -> BadStep | None:
    """The BadStep in [start, end), or None where these steps went well this time.

    The runtime must hold the state after `start` steps. On parameter servers the steps are taken one
    after the other here, and not as they were; so there they may go well.
    """
    for loop in dataclasses.replace(schedule, total_steps=end).loops(start):
        before = runtime.state()
        if _trouble(runtime, elements, [loop]):
            runtime.restore(before)
            steps = [Loop(step, 1) for step in range(loop.first_step, loop.end_step)]
            if found := _trouble(runtime, elements, steps):
                return found
    return None


def report(
    bad: BadStep, order: SampleOrder, workdir: Workdir | None, last_good: int, is_skipped: bool
) -> None:
    """Says what was found, and writes it to the workdir whole.

    Raises:
      BadNumbersError: the batch is not to be skipped.
    """
    batch = order.step_batch(bad.step)
    examples = batch[batch != PADDING].tolist()
    if workdir:
        found = {**dataclasses.asdict(bad), "examples": examples, "checkpoint": last_good}
        write_json(workdir.path / f"bad_batch-{bad.step}.json", found)
    shown = ", ".join(map(str, examples[:_SHOWN])) + (", ..." if examples[_SHOWN:] else "")
    kept = f"the last good checkpoint is of step {last_good}" if last_good else "none was saved yet"
    said = f"{bad.what} at step {bad.step}, on the batch of examples {shown}; {kept}"
    if not is_skipped:
        raise BadNumbersError(
            f"{said}. Look at these examples, lower `optimizer.learning_rate`, or let "
            "`train.skip_bad_batches` go back and leave such batches out."
        )
    logging.warning("%s. Going back to it, to leave that batch out", said)


def _trouble(runtime: Runtime, elements: Elements, loops: list[Loop]) -> BadStep | None:
    for loop, element in zip(loops, elements(iter(loops)), strict=True):
        if loop.skip:
            continue
        runtime.run(loop.first_step, loop.num_steps, element, False)
        sums = runtime.collect()
        if not are_finite(sums):
            return BadStep(loop.first_step, f"the loss became {sums[0]}")
        if not is_finite(runtime.state()):
            return BadStep(loop.first_step, "the weights or the optimizer's state became infinite")
    return None
