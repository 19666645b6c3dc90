"""How does a supervisor start its processes? `Starter` forks them from a warm process, if it has one.

Where the warm process fails, it says so once, and starts all further ones anew.
"""

import sys
import threading
from collections.abc import Callable, Sequence

from strategies.errors import os_reason
from trainer.process.start import cold_start
from trainer.process.start.child import Child
from trainer.process.start.program import Program
from trainer.process.start.warm_process import WarmProcess


class Starter:
    """Starts programs as children of this process, which end with it.

    Args:
      preload: the modules that the warm process imports in advance; None: there is no warm process.
      report: shows a person that the warm process is lost.
    """

    def __init__(self, preload: Sequence[str] | None, report: Callable[[str], None]):
        self.is_warm = preload is not None  # As it was asked for, and not whether it still is.
        self._report = report
        self._lock = threading.Lock()
        self._warm: WarmProcess | None = None
        if preload is not None and sys.platform == "linux":
            try:
                self._warm = WarmProcess(preload)
            except OSError as error:
                self._report_lost(f"could not be started ({os_reason(error)})")

    def start(
        self, program: Program, output: int, given_up: Callable[[], bool] = lambda: False
    ) -> Child | None:
        """Starts the program. Call it from a thread that lasts as long as the program.

        Args:
          program: what to run.
          output: the descriptor for its stdout and stderr.
          given_up: asked several times a second while the warm process does not answer; once it is
            true, nothing is started.

        Returns:
          The running process; None only where the start was given up.

        Raises:
          OSError: the machine cannot start a process.
        """
        warm = self._warm
        if warm and warm.fits(program):
            if child := warm.start(program, output, given_up):
                return child
            if not given_up():
                self._drop(warm)
        return None if given_up() else cold_start.start(program, output)

    def close(self) -> None:
        """Ends the warm process. What was started continues."""
        with self._lock:
            warm, self._warm = self._warm, None
        if warm:
            warm.close()

    def _drop(self, warm: WarmProcess) -> None:
        with self._lock:
            is_first = self._warm is warm
            self._warm = None
        if is_first:
            self._report_lost(warm.failure())
            warm.close()

    def _report_lost(self, what: str) -> None:
        self._report(
            f"the warm process {what}; every process now starts by importing TensorFlow itself"
        )
