"""How does a process end with the one that started it, however that ends?"""

import ctypes
import os
import signal

from strategies.errors import EXIT_RESUME

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, number: signal.Signals) -> None:
    """Has the system send this process the signal when `parent`, a pid, ends; at once if it has."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_RESUME)  # It ended before the system was told.
