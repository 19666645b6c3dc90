"""Which file handles SIGTERM and Ctrl-C? This one: `StopRequest` receives them in `train` and `tune`.

Both signals are blocked in every thread, and one thread waits for them. So they arrive even while the
main thread is in TensorFlow's native code, and TensorFlow's own handlers, which swallow SIGTERM, never
see them. Before training starts, a signal ends the process at once. During training, the first signal
sets `requested`: the loop saves and stops after its current call, within the grace period. A second
signal, or the end of the grace period, ends the process at once.

Other files touch signals for one reason each:
- `signal_wait.py`: waits for one, at most for a while.
- `guardian.py`: the parent of a cluster's task passes both signals on to it, and ends a task that is
  blocked in native code and cannot receive them.
- `launch/supervisor.py`: stops its tasks, which receive the signal here, and kills those that stay.
- `start/`: unblocks the signals in a process that it starts, where `train` blocks them again.
- `parent_death.py`: has the kernel send a signal to a process whose parent died.
- `__main__.py`: reports a Ctrl-C for commands without a `StopRequest`, like `evaluate` and `check`.
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
from trainer.process.signal_wait import next_signal

_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# Slurm and systemd signal every process of a task, and the guardian or `launch` passes its own signal on.
# Signals within this time are the same stop, received in two ways.
_SAME_STOP_S = 1.0
_print_at_exit: Callable[[str], None] = console.print_line


def block_signals() -> None:
    """Keeps both signals pending until a `StopRequest` receives them.

    Call it before numpy is imported: its library starts threads. The kernel may deliver a signal to any
    thread that has not blocked it, and would end the process without a message.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


class StopRequest:
    """`requested` becomes true on a first signal. Create it in the main thread, before TensorFlow."""

    def __init__(self):
        self.requested = False
        self._grace_s = 0.0
        block_signals()
        threading.Thread(target=self._receive, name="signals", daemon=True).start()

    def set_grace_period(self, seconds: float) -> None:
        """From now on, a first signal leaves `seconds` to save and exit; a second one ends at once."""
        self._grace_s = seconds

    def _receive(self) -> None:
        name = signal.Signals(signal.sigwait(_SIGNALS)).name
        if not self._grace_s:
            exit_now(
                EXIT_RESUME, f"stopped by {name} before the first step; run the same command again"
            )
        self.requested = True
        console.print_line(f"muster: {name}: saving, then stopping")
        if _second_signal(self._grace_s):
            exit_now(EXIT_RESUME, "stopped by a second signal; the last checkpoint is safe")
        exit_now(
            EXIT_RESUME,
            f"not finished within --stop_grace_s={self._grace_s:g} s of {name}; "
            "the last checkpoint is safe",
        )


def _second_signal(timeout_s: float) -> bool:
    """Waits for a signal that is not part of the first stop; False after `timeout_s`."""
    began = time.monotonic()
    while (left_s := began + timeout_s - time.monotonic()) > 0:
        received = next_signal(_SIGNALS, left_s)
        if received and time.monotonic() - began > _SAME_STOP_S:
            return True
    return False


def set_exit_printer(print_line: Callable[[str], None]) -> None:
    """Has `print_line` print the line with which `exit_now` ends this process."""
    global _print_at_exit  # noqa: PLW0603, a process ends only once.
    _print_at_exit = print_line


def exit_now(exit_code: int, message: str, task: Task | None = None) -> None:
    """Ends the process at once, from any thread, even while the main thread is in native code.

    `task` is the lost task, if that is the reason.
    """
    exit_record.write(ExitRecord(exit_code, message, task))
    _print_at_exit(console.error_line(message))
    console.finish()
    os._exit(exit_code)
