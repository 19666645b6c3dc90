"""Who ends a process that TensorFlow has made deaf?

While TensorFlow's servers start, native code holds Python's lock until every peer's server answers. No
thread of the process runs meanwhile: no signal is heard, no loss of a peer noticed, no deadline kept.
So a task of a cluster runs as the child of a small process that knows no TensorFlow. It passes
signals on, and while the child is deaf it watches the child's connections in its stead. Some starts
leave the child its hearing, and then it reads the beats itself; it says so, and watches for itself.
"""

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from strategies.cluster.spec import Task
from strategies.errors import EXIT_RESUME
from trainer.process import console, exit_record, parent_death
from trainer.process.exit_record import ExitRecord

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_LOOK_EVERY_S = 0.5
_LOOKS_FOR_AN_END = 3
_HEARS, _END, _LAST = b"hears", b"end", b"last "
_MAX_LAST_BYTES = 1 << 15
_AGAIN = "run the same command again to go on"


class Guardian:
    """The child's side. Without a channel, for a process alone, nothing is guarded."""

    def __init__(self, channel: socket.socket | None = None):
        self._channel = channel

    def say_last(self, line: str) -> None:
        """Has the line said once this process has ended, be it only because its guard had to end it.

        Said by itself, it could be left between its words and its end, when native code takes Python's
        lock; then the guard would end it with a line of its own.
        """
        if self._channel:
            self._channel.send(_LAST + line.encode()[:_MAX_LAST_BYTES])
        else:
            console.print_line(line)

    @contextlib.contextmanager
    def deaf(self, doing: str, timeout_s: float, peers: Mapping[Task, Any], silence_s: float):
        """While the body runs this process may be deaf, for at most `timeout_s`.

        Args:
          doing: what it is doing then, as in "starting TensorFlow's servers".
          peers: connections on which every peer beats: a closed one, or one that is
            silent for `silence_s`, ends the process too. All three with exit code 75.
        """
        if not self._channel:
            yield
            return
        message = {
            "doing": doing,
            "timeout_s": timeout_s,
            "silence_s": silence_s,
            "peers": [peer.as_json() for peer in peers],
        }
        fds = [peer.fileno() for peer in peers.values()]
        socket.send_fds(self._channel, [json.dumps(message).encode()], fds)
        is_over = threading.Event()
        sign = threading.Thread(target=self._say_that_it_hears, args=(is_over,), daemon=True)
        sign.start()
        try:
            yield
        finally:
            is_over.set()
            sign.join()  # So that the end is the last that is said.
            self._channel.send(_END)

    def _say_that_it_hears(self, is_over: threading.Event) -> None:
        while not is_over.wait(_LOOK_EVERY_S):  # A deaf process runs no thread, so says nothing.
            self._channel.send(_HEARS)


def split_off() -> Guardian:
    """Returns in a child process; the caller's own process guards it and ends with its exit code.

    Call it before there are threads.
    """
    mine, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    console.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    parent, child = os.getpid(), os.fork()
    if child:
        childs.close()
        _Parent(child, mine).watch()
    mine.close()
    os.setpgid(0, 0)  # Ctrl-C on a terminal reaches the parent alone, which passes it on, once.
    parent_death.end_with(parent, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Guardian(childs)


class _Parent:
    """The watching side. All its waits are bounded, and it never returns."""

    def __init__(self, child: int, channel: socket.socket):
        self._child = child
        self._channel = channel
        self._deaf: _Deaf | None = None
        self._last_line = ""  # As the child has left it.
        self._asked = ""  # The signal that was passed on; the child may have gone deaf before it.

    def watch(self) -> None:
        while True:
            self._hear_child()
            self._hear_signal()
            if self._deaf and (trouble := self._asked or self._deaf.trouble()):
                # A child that hears of it too ends by itself, and has left word.
                for _ in range(_LOOKS_FOR_AN_END):
                    self._hear_signal()
                lost = self._deaf.lost if not self._asked else None
                self._end(f"{trouble} while {self._deaf.doing}; {_AGAIN}", lost)

    def _hear_child(self) -> None:
        while select.select([self._channel], [], [], 0)[0]:
            data, fds, _, _ = socket.recv_fds(self._channel, 1 << 16, 4096)
            if data == _HEARS:
                self._deaf.start_again()
                continue
            if data.startswith(_LAST):
                self._last_line = data.removeprefix(_LAST).decode(errors="replace")
                continue
            if self._deaf:
                self._deaf.close()
            self._deaf = _Deaf(json.loads(data), fds) if fds else None
            if not data:
                return

    def _hear_signal(self) -> None:
        heard = signal.sigtimedwait(_SIGNALS, _LOOK_EVERY_S)
        if heard is None:
            return
        if heard.si_signo == signal.SIGCHLD:
            self._reap()
            return
        self._asked = f"stopped by {signal.Signals(heard.si_signo).name}"
        os.kill(self._child, heard.si_signo)

    def _reap(self) -> None:
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if not pid:
            return  # The child was stopped or continued.
        self._hear_child()
        if self._last_line:
            console.print_line(self._last_line)
        if os.WIFSIGNALED(status) and not self._last_line:
            name = signal.Signals(os.WTERMSIG(status)).name
            message = f"the task was killed by {name}; {_AGAIN}"
            exit_record.write(ExitRecord(128 + os.WTERMSIG(status), message))
            console.print_line(console.error_line(message))
        os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

    def _end(self, message: str, lost: Task | None) -> None:
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._hear_child()
        exit_record.write(ExitRecord(EXIT_RESUME, message, lost))  # Unless the child has.
        console.print_line(self._last_line or console.error_line(message))
        os._exit(EXIT_RESUME)


class _Deaf:
    """A time in which the child cannot hear, and the connections it cannot read."""

    def __init__(self, message: Mapping[str, Any], fds: list[int]):
        self.doing: str = message["doing"]
        self._timeout_s = message["timeout_s"]
        self._silence_s = message["silence_s"]
        self._peers = dict(zip(fds, map(Task.from_json, message["peers"]), strict=True))
        self.lost: Task | None = None  # Once `trouble` has found one.
        self._deadline = time.monotonic() + self._timeout_s
        self.start_again()

    def start_again(self) -> None:
        """Measures silence from now on: until now the child could hear for itself."""
        now = time.monotonic()
        self._heard = {fd: (_bytes_waiting(fd), now) for fd in self._peers}  # And since when.

    def trouble(self) -> str | None:
        """What ends the wait, or None. The beats stay unread, so they can only become more."""
        now = time.monotonic()
        for fd in self._closed():
            self.lost = self._peers[fd]
            return f"{self.lost} was lost (its connection closed)"
        for fd, (waiting, since) in self._heard.items():
            if (waiting_now := _bytes_waiting(fd)) != waiting:
                self._heard[fd] = waiting_now, now
            elif now - since > self._silence_s:
                self.lost = self._peers[fd]
                return f"{self.lost} was lost (not heard from for {self._silence_s:g} s)"
        if now > self._deadline:
            return f"no end came within {self._timeout_s:g} s"
        return None

    def close(self) -> None:
        for fd in self._peers:
            os.close(fd)

    def _closed(self) -> Iterator[int]:
        poll = select.poll()
        for fd in self._peers:
            poll.register(fd, select.POLLRDHUP)
        yield from (fd for fd, _ in poll.poll(0))


def _bytes_waiting(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
