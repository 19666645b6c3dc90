"""Who asked this process to stop, and how soon must it be gone?

SIGTERM and Ctrl-C are blocked in every thread and taken by one thread that waits for them. So they
are heard while the main thread sits in TensorFlow's native code, and TensorFlow's own handlers, which
swallow SIGTERM, never see them. Before training a stop is immediate; once training it is a wish that
the loop grants at its next end, and the grace bounds how long that may take.
"""

import os
import signal
import threading
import time
from collections.abc import Callable

from strategies.cluster.spec import Task
from strategies.errors import EXIT_RESUME
from trainer.process import console, exit_record
from trainer.process.exit_record import ExitRecord

_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# Slurm and systemd signal every process of a task, and its guard or `launch` passes its own signal on. So
# what comes so soon is the same stop, heard from another side.
_SAME_S = 1.0
_say: Callable[[str], None] = console.print_line


def block_signals() -> None:
    """Keeps both signals waiting until a `StopRequest` takes them.

    Call it before numpy is imported: its library starts threads, and one that has not blocked a
    signal would be given it, and the process ended without a word.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


class StopRequest:
    """`requested` turns true when somebody asks. Make it in the main thread, before TensorFlow."""

    def __init__(self):
        self.requested = False
        self._grace_s = 0.0
        block_signals()
        threading.Thread(target=self._listen, name="stop", daemon=True).start()

    def set_grace_period(self, seconds: float) -> None:
        """From now on a first signal leaves `seconds` to save and end; a later one ends at once."""
        self._grace_s = seconds

    def _listen(self) -> None:
        name = signal.Signals(signal.sigwait(_SIGNALS)).name
        if not self._grace_s:
            exit_now(
                EXIT_RESUME, f"stopped by {name} before the first step; run the same command again"
            )
        self.requested = True
        console.print_line(f"muster: {name}: saving, then stopping")
        if _comes_again(self._grace_s):
            exit_now(
                EXIT_RESUME, "stopped by a second signal; what the last checkpoint holds is safe"
            )
        exit_now(
            EXIT_RESUME,
            f"did not come to an end within --stop_grace_s={self._grace_s:g} s of {name}; "
            "what the last checkpoint holds is safe",
        )


def _comes_again(within_s: float) -> bool:
    """Waits for another signal than those that came with the first."""
    began = time.monotonic()
    while (left_s := began + within_s - time.monotonic()) > 0:
        heard = signal.sigtimedwait(_SIGNALS, left_s)
        if heard and time.monotonic() - began > _SAME_S:
            return True
    return False


def speak_through(say: Callable[[str], None]) -> None:
    """Has `say` bring out the line with which `leave` ends this process."""
    global _say  # noqa: PLW0603, as the end is the process's.
    _say = say


def exit_now(exit_code: int, message: str, task: Task | None = None) -> None:
    """Ends the process from any thread, at once, even while native code holds the main one.

    `task` is the one that was lost, if that is the reason.
    """
    exit_record.write(ExitRecord(exit_code, message, task))
    _say(console.error_line(message))
    console.flush()
    os._exit(exit_code)
