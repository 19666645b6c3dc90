"""Does the run still make progress? `Watchdog` prints all stacks and exits if it has not for a time-out.

A thread polls whether the loop has made progress. The cause of a stall does not matter: a peer that sends
heartbeats and computes nothing, a file system that hangs, a deadlock. The task exits so that it can be
started again. Native code that holds Python's lock stops the polling thread too; then the interpreter's
own timer, which needs no lock, prints the stacks and exits.
"""

import faulthandler
import sys
import threading
import time
from collections.abc import Callable

from strategies.errors import EXIT_RESUME
from trainer.process.signals import exit_now

_POLLS_PER_TIMEOUT = 10  # At least.
_MAX_POLL_S = 1.0
# The interpreter's timer acts this much later than the thread, whose message says more.
TIMER_DELAY_S = 10.0


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
        faulthandler.cancel_dump_traceback_later()

    def _poll(self) -> None:
        seen = None
        while not self._is_over.wait(min(_MAX_POLL_S, self._timeout_s / _POLLS_PER_TIMEOUT)):
            since, doing = self._progress
            if since != seen:
                seen = since
                faulthandler.dump_traceback_later(self._timeout_s + TIMER_DELAY_S, exit=True)
                self._on_progress()
            if time.monotonic() - since > self._timeout_s:
                self._exit(doing)

    def _exit(self, doing: str) -> None:
        if peers := self._waiting_for():
            doing += f", waiting for {peers}"
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        exit_now(
            EXIT_RESUME,
            f"no progress for --stall_timeout_s={self._timeout_s:g} s while {doing}; the stacks of "
            "all threads are above; run the same command again to resume",
        )
