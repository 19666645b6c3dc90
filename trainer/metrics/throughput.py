"""How fast is training, leaving out what is not training?"""

import time


class Speed:
    """Examples per second while training: not while saving or evaluating, nor while compiling."""

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
        if self._laps == 1:  # The first lap was spent compiling, so it counts only if alone.
            self._total_s = self._examples = 0.0
        self._laps += 1
        self._total_s += lap_s
        self._examples += num_examples
        return num_examples / lap_s if lap_s else 0.0

    @property
    def examples_per_s(self) -> float:
        return self._examples / self._total_s if self._total_s else 0.0
