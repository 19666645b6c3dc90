"""Has a run trained for as long as it may? `TimeLimit` counts the seconds of all its starts."""

import time


class TimeLimit:
    """`limit_s`: seconds that the run may take; 0: no limit.

    Only the task that writes checkpoints asks whether it is over, and the others follow. What a killed
    run did after its last checkpoint does not count.
    """

    def __init__(self, limit_s: float):
        self._limit_s = limit_s
        self._began, self._before_s = time.monotonic(), 0.0

    def resume(self, seconds: float) -> None:
        """Starts to count again, from the seconds that a checkpoint has."""
        self._began, self._before_s = time.monotonic(), seconds

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self._before_s + time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        return self.is_over_after(self.seconds)

    def is_over_after(self, seconds: float) -> bool:
        return bool(self._limit_s) and seconds >= self._limit_s
