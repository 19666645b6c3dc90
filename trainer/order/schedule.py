"""Where does one loop end, and what is done there?"""

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class Loop:
    """Steps [first_step, end_step), taken in one call, and what follows them.

    `skip`: a step whose batch is left out; what follows it is done all the same.
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
    """All loops of a run. `every` fields count steps; 0 means at the end only."""

    total_steps: int
    steps_per_epoch: int
    steps_per_loop: int
    evaluate_every: int
    checkpoint_every: int
    skipped: frozenset[int] = frozenset()

    def loops(self, start_step: int) -> Iterator[Loop]:
        """The loops from `start_step` on. None of them crosses an epoch's end or an event."""
        step = start_step
        while step < self.total_steps:
            end = min(self._next_stop(step), step + self.steps_per_loop)
            yield self._loop(step, end)
            step = end

    def evaluates_at(self, step: int) -> bool:
        """Whether the test examples are due once so many steps are done."""
        return step > 0 and self._is_due(self.evaluate_every, step)

    def _next_stop(self, step: int) -> int:
        every = (self.steps_per_epoch, self.evaluate_every, self.checkpoint_every)
        stops = [(step // n + 1) * n for n in every if n]
        left_out = [s + (s == step) for s in self.skipped if s >= step]
        return min([*stops, *left_out, self.total_steps])

    def _loop(self, step: int, end: int) -> Loop:
        evaluate = self.evaluates_at(end)
        checkpoint = self._is_due(self.checkpoint_every, end)
        report = self._is_due(self.steps_per_epoch, end) or evaluate or checkpoint
        return Loop(step, end - step, report, evaluate, checkpoint, skip=step in self.skipped)

    def _is_due(self, every: int, step: int) -> bool:
        return step == self.total_steps or bool(every) and step % every == 0
