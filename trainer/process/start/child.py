"""How is a process watched that was forked from the warm process?

It is a child of this process like one of subprocess.Popen, and `ForkedChild` has the same names.
`wait_for_any` takes both.
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence


class ForkedChild:
    """A child of this process by its pid. `returncode` is as in subprocess.Popen.

    The methods may be called from any thread. Signals are sent through a descriptor of the process: its
    pid could already be another's.
    """

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    os.close(self._pidfd)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the process has ended.

        Raises subprocess.TimeoutExpired after `timeout` seconds.
        """
        if (code := self.poll()) is not None:
            return code
        with self._lock:
            # Its own, as another thread may see the end first and close the other.
            descriptor = None if self.returncode is not None else os.dup(self._pidfd)
        if descriptor is not None:
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            waiting.poll(None if timeout is None else max(0, int(timeout * 1000)))
            os.close(descriptor)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends the signal; does nothing where the process has ended."""
        with self._lock:
            if self.returncode is None:
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Child = ForkedChild | subprocess.Popen


def wait_for_any(children: Sequence[Child], timeout_s: float) -> None:
    """Returns when one of these children of this process has ended, or after `timeout_s`.

    Call it from the only thread that asks for their exit codes.
    """
    waiting, descriptors = select.poll(), []
    try:
        for child in children:
            if child.poll() is not None:
                return
            descriptors.append(os.pidfd_open(child.pid))
            waiting.register(descriptors[-1], select.POLLIN)
        waiting.poll(int(timeout_s * 1000))
    except (AttributeError, OSError):
        time.sleep(timeout_s)  # The system has no descriptors of processes.
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
