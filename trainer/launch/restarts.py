"""What may be started again, how often, and which workers make up the next cluster?"""

import time

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class RestartBudget:
    """How often what does not get on may be started again."""

    def __init__(self, max_restarts: int):
        self.max_restarts = max_restarts
        self.spent = 0

    def renew(self) -> None:
        """It got on since it was last started."""
        self.spent = 0

    def spend(self) -> bool:
        """False if there is no restart left."""
        self.spent += 1
        return self.spent <= self.max_restarts

    @property
    def pause_s(self) -> float:
        """How long to wait before the restart that was spent last."""
        return min(_FIRST_PAUSE_S * 2 ** (self.spent - 1), _LONGEST_PAUSE_S)


class WorkerRoster:
    """Which workers of all there are make up the cluster, and when the others are tried again.

    A worker is known by its place in the whole cluster, from 0, whatever it is called in a smaller
    one.
    """

    def __init__(self, num_workers: int, rejoin_after_s: float):
        self._everyone = tuple(range(num_workers))
        self._rejoin_after_s = rejoin_after_s
        self._wait_s = rejoin_after_s
        self._rejoin_at = 0.0
        self._suspect: int | None = None  # The first to fail in the last attempt.
        self._on_trial: set[int] = set()  # They came back, and nothing was achieved with them yet.
        self.present = self._everyone

    @property
    def is_whole(self) -> bool:
        return self.present == self._everyone

    @property
    def left_s(self) -> float:
        """Seconds until those who were left out are due."""
        return max(0.0, self._rejoin_at - time.monotonic())

    def note_progress(self) -> None:
        self._suspect = None
        if self.is_whole:
            self._on_trial.clear()
            self._wait_s = self._rejoin_after_s

    def stays_away(self, worker: int | None) -> bool:
        """True if this worker, the first to fail in an attempt, was so in the one before too.

        One that came back after it had been left out has no second try. None: it was no worker.
        """
        again = worker is not None and (worker == self._suspect or worker in self._on_trial)
        self._suspect = worker
        return again

    def leave_out(self, worker: int, num_workers: int) -> float:
        """Goes on with `num_workers`, and without this one; the seconds until all are tried again."""
        if worker in self._on_trial:
            self._wait_s *= 2
        others = [one for one in self.present if one != worker]
        self.present = tuple(others[:num_workers])
        self._suspect = None
        self._on_trial.clear()
        self._rejoin_at = time.monotonic() + self._wait_s
        return self._wait_s

    def restore_all(self) -> None:
        self._on_trial = {*self._everyone} - {*self.present}
        self._suspect = None
        self.present = self._everyone
