"""Does the run still move?

A thread looks whether the loop has come on since it last looked. If it has not for too long, whatever the
reason (a peer that beats and computes nothing, a file system that hangs, a deadlock), the stacks of all
threads go to the log and the task ends, to be started again. Native code that holds Python's lock
stops that thread too; then the interpreter's own timer, which needs no lock, does the same.
"""

import faulthandler
import sys
import threading
import time
from collections.abc import Callable

from strategies.errors import EXIT_RESUME
from trainer.process.signals import exit_now

_LOOKS = 10  # In one timeout, at least.
_LONGEST_LOOK_S = 1.0
EXTRA_S = 10.0  # For this thread to be first, whose end says most.


class Watchdog:
    """A context manager: inside it `progress` must be called at least every `timeout_s`.

    `awaited` names whom the run waits for, or "". `on_progress` is called soon after the run came on.
    """

    def __init__(
        self,
        timeout_s: float,
        awaited: Callable[[], str] = str,
        on_progress: Callable[[], None] = lambda: None,
    ):
        self._timeout_s = timeout_s
        self._awaited = awaited
        self._on_progress = on_progress
        self._progress = (time.monotonic(), "starting")
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stall", daemon=True)

    def progress(self, doing: str) -> None:
        """The run has come on, and is `doing` this now."""
        self._progress = (time.monotonic(), doing)

    def __enter__(self):
        self.progress("starting")
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._is_over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _look(self) -> None:
        seen = None
        while not self._is_over.wait(min(_LONGEST_LOOK_S, self._timeout_s / _LOOKS)):
            since, doing = self._progress
            if since != seen:
                seen = since
                faulthandler.dump_traceback_later(self._timeout_s + EXTRA_S, exit=True)
                self._on_progress()
            if time.monotonic() - since > self._timeout_s:
                peers = self._awaited()
                doing += f", waiting for {peers}" if peers else ""
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                exit_now(
                    EXIT_RESUME,
                    f"no progress for --stall_timeout_s={self._timeout_s:g} s while {doing}; where "
                    "every thread stands is above; run the same command again to go on",
                )
