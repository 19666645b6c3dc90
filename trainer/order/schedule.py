"""Where does one loop end, and what is done there?

`Schedule` cuts a run into loops: one ends at the latest where an epoch ends, or where a report, an
evaluation or a checkpoint is due. Where replicas agree only from time to time, a loop ends with an
agreement, and what is due between two of them is done at the second.
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

    `skipped` are the steps whose batches are skipped. `period`: replicas agree after that many steps from
    the start of an epoch, and again and again, and at the end of the epoch and of the run.
    A loop also ends at the first agreement after `cuts` steps.
    """

    total_steps: int
    steps_per_epoch: int
    steps_per_loop: int
    evaluate_every: int
    checkpoint_every: int
    skipped: frozenset[int] = frozenset()
    period: int = 1
    cuts: frozenset[int] = frozenset()

    def loops(self, start_step: int) -> Iterator[Loop]:
        """The loops from `start_step` to the end. None crosses the end of an epoch or an event."""
        step = start_step
        while step < self.total_steps:
            end = min(self._next_stop(step), self._agreement(step + self.steps_per_loop))
            yield self._loop(step, end)
            step = end

    def periods(self, loop: Loop) -> list[Loop]:
        """A loop as the shortest ones that can be run one by one."""
        firsts = range(loop.first_step, loop.end_step, self.period)
        return [Loop(first, min(self.period, loop.end_step - first)) for first in firsts]

    def updates_before(self, step: int) -> int:
        """How many of the steps [0, `step`) update the weights."""
        return step - sum(skipped < step for skipped in self.skipped)

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation is due after `step` steps."""
        return step > 0 and self._is_due(self.evaluate_every, step)

    def _next_stop(self, step: int) -> int:
        every = (self.steps_per_epoch, self.evaluate_every, self.checkpoint_every)
        stops = [self._agreement((step // n + 1) * n) for n in every if n]
        around_skipped = [s + (s == step) for s in self.skipped if s >= step]
        cuts = [self._agreement(cut) for cut in self.cuts if cut > step]
        return min([*stops, *around_skipped, *cuts, self.total_steps])

    def _loop(self, step: int, end: int) -> Loop:
        evaluate = self.evaluates_at(end)
        checkpoint = self._is_due(self.checkpoint_every, end)
        report = self._is_due(self.steps_per_epoch, end) or evaluate or checkpoint
        return Loop(step, end - step, report, evaluate, checkpoint, skip=step in self.skipped)

    def _is_due(self, every: int, step: int) -> bool:
        """Whether a multiple of `every` is in the period that ends with this step."""
        if step == self.total_steps or not every:
            return step == self.total_steps
        epoch, before = divmod(step - 1, self.steps_per_epoch)
        start = epoch * self.steps_per_epoch + before // self.period * self.period
        return step // every > start // every

    def _agreement(self, step: int) -> int:
        """The first step from `step` on after which the replicas have agreed."""
        epoch, within = divmod(step, self.steps_per_epoch)
        periods = -(-within // self.period)
        return epoch * self.steps_per_epoch + min(periods * self.period, self.steps_per_epoch)
