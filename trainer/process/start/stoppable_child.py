"""How is a child process ended, with everything that it started?

Its supervisor first asks it to stop, by one SIGTERM, and kills its process group if it takes too long.
"""

import os
import signal
import threading

from trainer.process.start.child import Child


class StoppableChild:
    """A child that leads a process group of its own, once it is started."""

    def __init__(self) -> None:
        self.was_asked_to_stop = False
        self.ended_by: signal.Signals | None = None  # What ended it before it was started.
        self._child: Child | None = None
        self._lock = threading.Lock()

    def set_child(self, child: Child) -> None:
        """The child, which was just started. It is killed where it should not have been."""
        with self._lock:
            self._child = child
            if self.ended_by:
                self._kill_group(child)

    def is_given_up(self) -> bool:
        """Whether it was ended before it was started."""
        return self.ended_by is not None

    def ask_to_stop(self) -> None:
        """Sends SIGTERM, but only once: a second one would end a task that is saving."""
        with self._lock:
            if self._child is None:
                self.ended_by = signal.SIGTERM
            elif not self.was_asked_to_stop:
                self._child.terminate()
            self.was_asked_to_stop = True

    def kill(self) -> None:
        """Kills the process and its group."""
        with self._lock:
            if self._child is None:
                self.ended_by = signal.SIGKILL
            else:
                self._kill_group(self._child)

    def _kill_group(self, child: Child) -> None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            child.kill()
