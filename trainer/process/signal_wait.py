"""How does a thread wait for a signal that is blocked, for at most a while? `next_signal` does.

Python's own `signal.sigtimedwait` (seen with 3.11.7) returns a siginfo that nobody has filled in, with
any number, where the process was suspended and continued during the wait and its time is over. So the C
library's function is called.
"""

import ctypes
import signal
from collections.abc import Iterable

_SIGSET_BYTES = 128


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def next_signal(signals: Iterable[signal.Signals], timeout_s: float) -> signal.Signals | None:
    """The next of these signals, which must be blocked.

    None after `timeout_s`, or sooner where the process was suspended and continued.
    """
    libc, wanted = ctypes.CDLL(None), ctypes.create_string_buffer(_SIGSET_BYTES)
    libc.sigemptyset(wanted)
    for number in signals:
        libc.sigaddset(wanted, int(number))
    whole = int(timeout_s)
    timeout = _TimeSpec(whole, int((timeout_s - whole) * 1e9))
    number = libc.sigtimedwait(wanted, None, ctypes.byref(timeout))
    return signal.Signals(number) if number > 0 else None
