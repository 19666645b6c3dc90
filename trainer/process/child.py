"""How is a child process ended, with everything that it started?

Its supervisor first asks it to stop, by one SIGTERM, and kills its process group if it takes too long.
"""

import os
import signal
from typing import Any


class StoppableChild:
    """A child that leads a process group of its own.

    Args:
      child: a subprocess.Popen or a multiprocessing.Process that was started.
    """

    def __init__(self, child: Any):
        self._child = child
        self.was_asked_to_stop = False

    def ask_to_stop(self) -> None:
        """Sends SIGTERM, but only once: a second one would end a task that is saving."""
        if not self.was_asked_to_stop:
            self.was_asked_to_stop = True
            self._child.terminate()

    def kill(self) -> None:
        """Kills the process and its group."""
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._child.kill()
