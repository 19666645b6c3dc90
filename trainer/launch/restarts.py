"""How often may tasks be restarted, and which workers form the next cluster?

`RestartBudget` counts restarts without progress and grows the pause before each; `WorkerRoster` drops a
worker that is the first to fail in two attempts in a row, and brings it back later.
"""

import time

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_FACTOR = 5  # So that two more restarts outlast what a machine takes to recover.


class RestartBudget:
    """The restarts that are left to a cluster or a task that makes no progress."""

    def __init__(self, max_restarts: int):
        self.max_restarts = max_restarts
        self.spent = 0

    def renew(self) -> None:
        """It made progress since it was last started."""
        self.spent = 0

    def spend(self) -> bool:
        """False if no restart is left."""
        self.spent += 1
        return self.spent <= self.max_restarts

    @property
    def pause_s(self) -> float:
        """How long to wait before the restart that was spent last."""
        return min(_FIRST_PAUSE_S * _FACTOR ** (self.spent - 1), _LONGEST_PAUSE_S)

    @property
    def restart(self) -> str:
        """The restart that was spent last, as in "restart 1 of 3 in 0.1 s"."""
        return f"restart {self.spent} of {self.max_restarts} in {self.pause_s:g} s"


class WorkerRoster:
    """Which of all workers form the cluster, and when the dropped ones are tried again.

    A worker is known by its index in the complete cluster, from 0, whatever its index in a smaller one.
    """

    def __init__(self, num_workers: int, rejoin_after_s: float):
        self._all = tuple(range(num_workers))
        self._rejoin_after_s = rejoin_after_s
        self._wait_s = rejoin_after_s
        self._rejoin_at = 0.0
        self._suspect: int | None = None  # The first to fail in the last attempt.
        self._on_probation: set[int] = set()  # They are back, and no checkpoint was saved since.
        self.present = self._all

    @property
    def is_complete(self) -> bool:
        return self.present == self._all

    @property
    def rejoin_in_s(self) -> float:
        """Seconds until the dropped workers are tried again."""
        return max(0.0, self._rejoin_at - time.monotonic())

    def note_progress(self) -> None:
        self._suspect = None
        if self.is_complete:
            self._on_probation.clear()
            self._wait_s = self._rejoin_after_s

    def keeps_failing(self, worker: int | None) -> bool:
        """Notes which worker was the first to fail in an attempt; True if it is to be dropped.

        That is the second time in a row, or the first time after it was back. None: another task
        was the first to fail.
        """
        again = worker is not None and (worker == self._suspect or worker in self._on_probation)
        self._suspect = worker
        return again

    def drop(self, worker: int, num_workers: int) -> float:
        """Leaves `num_workers`, without this one. Returns the seconds until all are tried again."""
        if worker in self._on_probation:
            self._wait_s *= 2
        others = [one for one in self.present if one != worker]
        self.present = tuple(others[:num_workers])
        self._suspect = None
        self._on_probation.clear()
        self._rejoin_at = time.monotonic() + self._wait_s
        return self._wait_s

    def restore_all(self) -> None:
        self._on_probation = {*self._all} - {*self.present}
        self._suspect = None
        self.present = self._all
