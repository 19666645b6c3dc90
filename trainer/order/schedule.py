"""Where does one loop end, and what is done there?

`Schedule` cuts a run into loops: one ends at the latest where an epoch ends, or where a report, an
evaluation or a checkpoint is due.
"""

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class Loop:
    """Steps [first_step, end_step), run in one call, and what follows them.

    `skip`: this single step's batch is skipped; what follows the step is still done.
    """

    first_step: int
    num_steps: int
    report: bool = False
    evaluate: bool = False
    checkpoint: bool = False
    skip: bool = False

    @property
    def end_step(self) -> int:
        return self.first_step + self.num_steps


@dataclasses.dataclass(frozen=True)
class Schedule:
    """All loops of a run. The `*_every` fields are in steps; 0: only at the end of the run.

    `skipped` are the steps whose batches are skipped.
    """

    total_steps: int
    steps_per_epoch: int
    steps_per_loop: int
    evaluate_every: int
    checkpoint_every: int
    skipped: frozenset[int] = frozenset()

    def loops(self, start_step: int) -> Iterator[Loop]:
        """The loops from `start_step` to the end. None crosses the end of an epoch or an event."""
        step = start_step
        while step < self.total_steps:
            end = min(self._next_stop(step), step + self.steps_per_loop)
            yield self._loop(step, end)
            step = end

    def updates_before(self, step: int) -> int:
        """How many of the steps [0, `step`) update the weights."""
        return step - sum(skipped < step for skipped in self.skipped)

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation is due after `step` steps."""
        return step > 0 and self._is_due(self.evaluate_every, step)

    def _next_stop(self, step: int) -> int:
        every = (self.steps_per_epoch, self.evaluate_every, self.checkpoint_every)
        stops = [(step // n + 1) * n for n in every if n]
        around_skipped = [s + (s == step) for s in self.skipped if s >= step]
        return min([*stops, *around_skipped, self.total_steps])

    def _loop(self, step: int, end: int) -> Loop:
        evaluate = self.evaluates_at(end)
        checkpoint = self._is_due(self.checkpoint_every, end)
        report = self._is_due(self.steps_per_epoch, end) or evaluate or checkpoint
        return Loop(step, end - step, report, evaluate, checkpoint, skip=step in self.skipped)

    def _is_due(self, every: int, step: int) -> bool:
        return step == self.total_steps or bool(every) and step % every == 0
