"""Who ends a process in which native code holds Python's lock? Two timers of the kernel, in succession.

No thread of Python runs in such a process. `LastResort.postpone` starts the first timer anew; the
process calls it as long as its threads run. Where it no longer does, the first timer runs out and its
signal starts the second, and at the end of that one all stacks are printed and SIGALRM ends the process.

There are two because a process can be suspended, by SIGSTOP or with its machine. The first timer runs out
meanwhile; once the process continues, its threads call `postpone` before the second one does.
"""

import ctypes
import faulthandler
import os
import signal

from trainer.process import console

# The number of SIGSTKFLT, which nothing else uses, and so the length of the second timer in seconds: the
# C library's function `alarm` handles the signal, and takes its number for seconds. That needs no lock.
SECOND_S = 16
_CLOCK_MONOTONIC, _SIGEV_SIGNAL = 1, 0


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


class _SignalEvent(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    ]


class LastResort:
    """Ends this process where `postpone` is not called in time, and `SECOND_S` later than it said."""

    def __init__(self) -> None:
        self._screen = console.unblocked(2)
        self._timer: ctypes.c_void_p | None = None
        self._libc = ctypes.CDLL(None)
        try:
            self._create_timer()
        except AttributeError:  # Not Linux, or an older C library.
            return
        faulthandler.register(signal.SIGALRM, file=self._screen, all_threads=True, chain=True)
        self._libc.signal(SECOND_S, self._libc.alarm)

    def postpone(self, left_s: float) -> None:
        """The process's threads run: the timers start anew, with `left_s` on the first."""
        if self._timer is None:
            # The interpreter's own timer. It counts the time in which the process was suspended.
            faulthandler.dump_traceback_later(left_s + SECOND_S, exit=True, file=self._screen)
            return
        signal.alarm(0)
        self._set_timer(left_s)

    def close(self) -> None:
        if self._timer is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            self._set_timer(0.0)
            signal.alarm(0)
            self._libc.timer_delete(self._timer)
            faulthandler.unregister(signal.SIGALRM)
        os.close(self._screen)

    def _create_timer(self) -> None:
        event = _SignalEvent(signal=int(signal.SIGSTKFLT), notify=_SIGEV_SIGNAL)
        timer = ctypes.c_void_p()
        if not self._libc.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
            self._timer = timer

    def _set_timer(self, seconds: float) -> None:
        """Starts the timer anew; 0 stops it."""
        whole = int(seconds)
        spec = _TimerSpec(value=_TimeSpec(whole, int((seconds - whole) * 1e9)))
        self._libc.timer_settime(self._timer, 0, ctypes.byref(spec), None)
