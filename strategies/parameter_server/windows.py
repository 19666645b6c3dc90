"""How many steps does a worker take alone, and how many of those windows may be unfinished?

`Windows` cuts a loop into them, as the agreement says.
"""

import collections
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from strategies.sync.asynchronous import Asynchronous

# Where the config leaves it open. A window costs about 15 ms of CPU time, however short.
_STEPS = 20
_MAX_STEPS = 500  # Where it ends after a time.
_PER_REPORT = 4  # Windows per worker, at least: at a report all wait for the last one.


class Windows:
    """The windows of a run on `workers`. `steps`: in those that are cut next."""

    def __init__(self, agreement: Asynchronous, workers: int):
        self._agreement, self._workers = agreement, workers
        self.steps = agreement.window_steps or _STEPS
        self._unfinished: collections.deque[Any] = collections.deque()
        self._cut_windows = self._cut_steps = 0

    @property
    def max_overlap(self) -> int:
        """How many may overlap."""
        return min(self._workers, self._agreement.max_unfinished or self._workers)

    def steps_per_loop(self, report_every: int) -> int:
        """Steps in a loop where the config leaves it open; the windows are then no longer than it."""
        asked, fitting = self._agreement, max(1, report_every // (_PER_REPORT * self._workers))
        if not asked.window_steps:
            self.steps = min(self.steps, fitting)
        return min(_MAX_STEPS, fitting) if asked.window_ms else self.steps

    def cut(self, num_steps: int, element: tuple) -> Iterator[tuple[int, int, tuple]]:
        """(first step, number of steps, input) of each window of a loop, whose input is `element`."""
        for start in range(0, num_steps, self.steps):
            steps = min(self.steps, num_steps - start)
            self._cut_windows, self._cut_steps = self._cut_windows + 1, self._cut_steps + steps
            yield start, steps, self.rows(element, start)

    def number_in(self, steps: int) -> int:
        """In how many windows a run took these steps, if earlier starts cut them as this one did."""
        return round(self._cut_windows * steps / max(self._cut_steps, 1))

    def rows(self, element: tuple, start: int) -> tuple:
        """A loop's input from the row `start` on, always in one shape, so that it is compiled once."""
        length = element[0].shape[0]
        rows = length if self._agreement.window_ms else min(self.steps, length)
        if (start, rows) == (0, length):
            return element
        end = start + rows
        return tuple(
            tf.concat([array[start:end], tf.zeros_like(array[: max(0, end - length)])], 0)
            for array in element
        )

    def await_place(self) -> None:
        """Returns when one more may be unfinished. Raises what the oldest one has raised."""
        if len(self._unfinished) == self._agreement.max_unfinished:
            self._unfinished.popleft().fetch()

    def started(self, window: Any) -> None:
        """`window`: the coordinator's value of one that was scheduled."""
        if self._agreement.max_unfinished:
            self._unfinished.append(window)

    def all_finished(self, steps: int, busy_s: float) -> None:
        """Sets the length of the next ones. `busy_s`: how long the `steps` so far took, on workers."""
        self._unfinished.clear()
        if self._agreement.window_ms and busy_s:
            wanted = self._agreement.window_ms / 1000 * steps / busy_s
            self.steps = max(1, min(_MAX_STEPS, round(wanted)))
