"""How is a process started that needs not import TensorFlow first?

It is forked from a process that has: the warm process, which imports, does nothing with what it imported,
and forks on request. `WarmProcess` is its starter's side.

A forked process is a child of the starter, and not of the warm process: the starter reads its exit code,
and it outlives the warm process. This takes four steps.

1. The starter sends two descriptors: the new process's output, and its end of a channel.
2. The warm process forks twice, and the process in between ends at once. The starter adopts the new
   process, as it is a "subreaper" meanwhile: Linux gives it the orphans among its descendants.
3. The new process asks the kernel to end it with the starter, and sends its pid through the channel.
4. The starter answers with the program. Where it has given up, the channel is closed and the new process
   ends. So no program runs that the starter does not know of.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from trainer.process.start import fork_server, origin
from trainer.process.start.child import Child, ForkedChild
from trainer.process.start.program import Program

_PR_SET_CHILD_SUBREAPER = 36
_IMPORT_S = 180.0  # For what takes 3 s on an idle machine, and long from a slow file server.
_FORK_S = 10.0
_POLL_EVERY_S = 0.1
_NOTICE_S = 0.5  # One channel is closed a moment before the other.
_END_S = (
    30.0  # Both are closed before it has ended, which on a busy machine is not the same moment.
)
# What the interpreter and the libraries read when they start, and not when they are used.
_READ_AT_START = (
    "PYTHON", "LD_", "MALLOC_", "GLIBC_", "LANG", "LC_", "TZ",
    "OMP_", "OPENBLAS_", "MKL_", "KERAS_", "TF_CPP_", "TF_ENABLE_ONEDNN",
)  # fmt: skip


class WarmProcess:
    """A process that has imported `preload`, and from which this one forks others.

    It ends with this process. Create it in the main thread, as it ends with the thread that created it.

    Args:
      preload: the modules that it imports. They must not start threads or use TensorFlow.

    Raises OSError where it cannot be started, or the system has no descriptors of processes.
    """

    def __init__(self, preload: Sequence[str]):
        os.close(os.pidfd_open(os.getpid()))  # New in Linux 5.3, and each child has one.
        self._deadline = time.monotonic() + _IMPORT_S
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environ: Mapping[str, str]
        with theirs, _adopting_orphans():
            if origin.is_forked():
                # This process is warm itself, and has no threads yet.
                self._process: Child = fork_server.fork(theirs)
                self._environ = origin.environ_at_import()
            else:
                self._environ = dict(os.environ)
                self._process = subprocess.Popen(
                    [sys.executable, "-m", fork_server.__name__, str(os.getpid()),
                     str(theirs.fileno()), *preload],
                    pass_fds=[theirs.fileno()], start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
        self._channel.settimeout(_FORK_S)

    def fits(self, program: Program) -> bool:
        """Whether the program would find no other environment if it were started anew."""
        return all(
            self._environ.get(name) == program.environ.get(name)
            for name in {*self._environ, *program.environ} - {fork_server.UNBUFFERED}
            if name.startswith(_READ_AT_START)
        )

    def start(
        self, program: Program, output: int, given_up: Callable[[], bool]
    ) -> ForkedChild | None:
        """Starts the program, in a session of its own, once the imports are done.

        May be called from several threads at once.

        Args:
          program: what to run.
          output: the descriptor for its stdout and stderr.
          given_up: asked several times a second; once it is true, nothing is started.

        Returns:
          The running process; None where the warm process did not answer in time or has ended, or
          where the start was given up.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, _adopting_orphans():
            with theirs:
                try:
                    socket.send_fds(self._channel, [b"fork"], [output, theirs.fileno()])
                except OSError:
                    return None
            pid = self._receive_pid(ours, given_up)
            if pid is None:
                return None
            self._deadline = 0.0  # Its imports are done.
            child = ForkedChild(pid)
            try:
                ours.settimeout(_FORK_S)
                ours.sendall(program.as_json().encode())
            except OSError:  # It was killed, and that is its end.
                child.kill()
            return child

    def _receive_pid(self, channel: socket.socket, given_up: Callable[[], bool]) -> int | None:
        deadline = max(self._deadline, time.monotonic() + _FORK_S)
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        while time.monotonic() < deadline and not given_up():
            if poll.poll(_POLL_EVERY_S * 1000):
                return fork_server.receive_pid(channel)
        return None

    def failure(self) -> str:
        """Why `start` returned None, as in "was killed by SIGKILL"."""
        poll = select.poll()
        poll.register(self._channel, 0)  # Its end is reported all the same.
        is_ending = bool(poll.poll(_NOTICE_S * 1000))
        try:
            code = self._process.wait(_END_S if is_ending else 0)
        except subprocess.TimeoutExpired:
            return "did not answer"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def close(self) -> None:
        """Ends it. The processes that were forked from it continue."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


_adopting = threading.Lock()
_num_adopting = 0


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Orphans among this process's descendants become its children while the body runs.

    Only then, since it would have to reap all that any descendant leaves behind.
    """
    _count_adopting(+1)
    try:
        yield
    finally:
        _count_adopting(-1)


def _count_adopting(change: int) -> None:
    global _num_adopting  # noqa: PLW0603, as it is the process that adopts.
    with _adopting:
        _num_adopting += change
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(_num_adopting > 0), 0, 0, 0)
