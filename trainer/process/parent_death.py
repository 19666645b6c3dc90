"""How does a process end when its parent dies? Linux sends it a signal (PR_SET_PDEATHSIG).

The kernel sends it when the parent's thread that started the process ends. So start the process from a
thread that lasts as long as it.
"""

import ctypes
import os

from strategies.errors import EXIT_RESUME

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, number: int) -> None:
    """Has the kernel send this process the signal `number` when the process `parent` ends.

    Exits at once if it has ended already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_RESUME)
