"""Does the run still make progress? `Watchdog` prints all stacks and exits if it has not for a time-out.

A thread polls whether the loop has made progress. The cause of a stall does not matter: a peer that sends
heartbeats and computes nothing, a file system that hangs, a deadlock. The task exits so that it can be
started again. Native code that holds Python's lock stops the polling thread too; for that there is
`blocked_interpreter.py`. Time in which the process was suspended, by SIGSTOP or with its machine, does
not count: the thread did not poll then.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Callable

from strategies.errors import EXIT_RESUME
from trainer.process import console
from trainer.process.blocked_interpreter import SECOND_S, LastResort
from trainer.process.signals import exit_now

_POLLS_PER_TIMEOUT = 10  # At least.
_MAX_POLL_S = 1.0
_LATEST_POLL_S = 5.0  # After a longer pause between two polls, the process was suspended.
# A blocked process ends this much later than a thread could end it, whose message says more.
_FIRST_DELAY_S = 10.0
TIMER_DELAY_S = _FIRST_DELAY_S + SECOND_S


class Watchdog:
    """A context manager. Inside it, `progress` must be called at least every `timeout_s`.

    `waiting_for` names the peers that the run waits for, or returns "". `on_progress` is called soon
    after each progress.
    """

    def __init__(
        self,
        timeout_s: float,
        waiting_for: Callable[[], str] = str,
        on_progress: Callable[[], None] = lambda: None,
    ):
        self._timeout_s = timeout_s
        self._waiting_for = waiting_for
        self._on_progress = on_progress
        self._progress = (time.monotonic(), "starting")
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="watchdog", daemon=True)

    def progress(self, doing: str) -> None:
        """Records that the run has made progress, and what it is `doing` now."""
        self._progress = (time.monotonic(), doing)

    def __enter__(self):
        self.progress("starting")
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _poll(self) -> None:
        last_resort = LastResort()
        try:
            self._poll_until_over(last_resort)
        finally:
            last_resort.close()

    def _poll_until_over(self, last_resort: LastResort) -> None:
        seen, suspended_s, polled_at = None, 0.0, time.monotonic()
        while not self._is_over.wait(min(_MAX_POLL_S, self._timeout_s / _POLLS_PER_TIMEOUT)):
            now = time.monotonic()
            if now - polled_at > _LATEST_POLL_S:
                suspended_s += now - polled_at
            polled_at = now
            since, doing = self._progress
            if since != seen:
                seen, suspended_s = since, 0.0
                self._on_progress()
            left_s = self._timeout_s - (now - since - suspended_s)
            if left_s < 0:
                self._exit(doing)
            last_resort.postpone(left_s + _FIRST_DELAY_S)

    def _exit(self, doing: str) -> None:
        if peers := self._waiting_for():
            doing += f", waiting for {peers}"
        screen = console.unblocked(2)  # This thread holds Python's lock while it writes.
        faulthandler.dump_traceback(file=screen, all_threads=True)
        os.close(screen)
        exit_now(
            EXIT_RESUME,
            f"no progress for --stall_timeout_s={self._timeout_s:g} s while {doing}; the stacks of "
            "all threads are above; run the same command again to resume",
        )
