"""How many examples per second does training process?

`Throughput` counts only the time spent inside it as a context manager.
"""

import time


class Throughput:
    """Examples per second while training: without saving, evaluating and compiling."""

    def __init__(self):
        self._began = self._lap_s = self._total_s = 0.0
        self._lap_examples = self._examples = 0.0
        self._laps = 0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *unused: object) -> None:
        self._lap_s += time.perf_counter() - self._began

    def add(self, num_examples: float) -> None:
        self._lap_examples += num_examples

    def lap(self) -> float:
        """Examples per second since the last lap; 0 where no time was spent."""
        lap_s, self._lap_s = self._lap_s, 0.0
        num_examples, self._lap_examples = self._lap_examples, 0.0
        # The first lap includes compiling, so it counts only if it is the only one.
        if self._laps == 1:
            self._total_s = self._examples = 0.0
        self._laps += 1
        self._total_s += lap_s
        self._examples += num_examples
        return num_examples / lap_s if lap_s else 0.0

    @property
    def examples_per_s(self) -> float:
        """Over all laps but the first; 0 before the first."""
        return self._examples / self._total_s if self._total_s else 0.0
