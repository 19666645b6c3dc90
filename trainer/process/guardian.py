"""Who ends a process that native code has blocked? Its guardian, a parent process without TensorFlow.

While TensorFlow's servers start, native code holds Python's lock until the servers of all peers answer.
No thread of the process runs in that time, so it receives no signal, notices no lost peer and keeps no
deadline. Therefore a task of a cluster runs as the child of a small guardian process. The guardian
passes signals on, and while the child may be blocked it watches the child's connections itself.

Some starts do not block the child, and then the child reads the heartbeats itself. It reports so to the
guardian, which then measures silence from that moment.
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
from trainer.process.signal_wait import next_signal

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_POLL_EVERY_S = 0.5
_POLLS_BEFORE_KILL = 3  # For a child that notices the failure too, and exits with its own message.
# Messages from the child. Any other one says what it is about to do.
_RUNS, _END, _LAST, _PEERS = b"runs", b"end", b"last ", b"peers "
_MAX_FDS = 250  # Linux sends at most 253 descriptors in one message (SCM_MAX_FD).
_MAX_LAST_BYTES = 1 << 15
_RESUME = "run the same command again to resume"


class Guardian:
    """The child's side. Without a channel, as in a single task, nothing is guarded."""

    def __init__(self, channel: socket.socket | None = None):
        self._channel = channel

    def print_at_exit(self, line: str) -> None:
        """Has the line printed once this process has ended, even if the guardian had to kill it.

        If this process printed the line itself, native code could take Python's lock between the line
        and the exit. Then the guardian would kill the process and print a second line.
        """
        if self._channel:
            self._channel.send(_LAST + line.encode()[:_MAX_LAST_BYTES])
        else:
            console.print_line(line)

    @contextlib.contextmanager
    def watch_while_blocked(
        self, doing: str, timeout_s: float, peers: Mapping[Task, Any], silence_s: float
    ) -> Iterator[None]:
        """While the body runs, native code may block this process, for at most `timeout_s`.

        Args:
          doing: what the process does, for messages, as in "starting TensorFlow's servers".
          timeout_s: after that, the guardian ends this process with exit code 75.
          peers: connections on which every peer sends heartbeats. The guardian also ends this
            process when one of them is closed, or silent for `silence_s`.
        """
        channel = self._channel
        if not channel:
            yield
            return
        message = {"doing": doing, "timeout_s": timeout_s, "silence_s": silence_s}
        channel.send(json.dumps(message).encode())
        for batch in _batches(list(peers.items())):
            names = [peer.as_json() for peer, _ in batch]
            fds = [connection.fileno() for _, connection in batch]
            socket.send_fds(channel, [_PEERS + json.dumps(names).encode()], fds)
        is_over = threading.Event()
        reporter = threading.Thread(target=_report_running, args=(channel, is_over), daemon=True)
        reporter.start()
        try:
            yield
        finally:
            is_over.set()
            reporter.join()  # So that the end is the last message.
            channel.send(_END)


def _batches(items: list) -> Iterator[list]:
    return (items[start : start + _MAX_FDS] for start in range(0, len(items), _MAX_FDS))


def _report_running(channel: socket.socket, is_over: threading.Event) -> None:
    while not is_over.wait(_POLL_EVERY_S):  # A blocked process runs no thread, so sends nothing.
        channel.send(_RUNS)


def fork_child() -> Guardian:
    """Returns in a child process. The calling process guards it, and exits with its exit code.

    Call it before there are threads.
    """
    own_end, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    console.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    parent, child = os.getpid(), os.fork()
    if child:
        child_end.close()
        _Parent(child, own_end).watch()
    own_end.close()
    os.setpgid(0, 0)  # A terminal sends Ctrl-C to the parent only, which passes it on, once.
    parent_death.end_with(parent, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Guardian(child_end)


class _Parent:
    """The guardian's side. All its waits have a deadline, and `watch` never returns."""

    def __init__(self, child: int, channel: socket.socket):
        self._child = child
        self._channel = channel
        self._watched: _WatchedPeers | None = None  # While the child may be blocked.
        self._last_line = ""  # Which the child wants printed at its exit.
        self._signal = ""  # Which was passed on; the child may have been blocked before that.

    def watch(self) -> None:
        while True:
            self._receive_messages()
            self._receive_signal()
            if self._watched and (failure := self._signal or self._watched.failure()):
                for _ in range(_POLLS_BEFORE_KILL):
                    self._receive_signal()
                lost = None if self._signal else self._watched.lost
                self._kill(f"{failure} while {self._watched.doing}; {_RESUME}", lost)

    def _receive_messages(self) -> None:
        while select.select([self._channel], [], [], 0)[0]:
            data, fds, _, _ = socket.recv_fds(self._channel, 1 << 16, 4096)
            if data == _RUNS:
                if self._watched:
                    self._watched.reset_silence()
                continue
            if data.startswith(_LAST):
                self._last_line = data.removeprefix(_LAST).decode(errors="replace")
                continue
            if data.startswith(_PEERS):
                if self._watched:
                    self._watched.add(json.loads(data.removeprefix(_PEERS)), fds)
                continue
            if self._watched:
                self._watched.close()
            # Without peers, only the deadline is left to watch.
            self._watched = None if data in (_END, b"") else _WatchedPeers(json.loads(data))
            if not data:
                return

    def _receive_signal(self) -> None:
        received = next_signal(_SIGNALS, _POLL_EVERY_S)
        if received is None:
            return
        if received == signal.SIGCHLD:
            self._exit_with_child()
            return
        self._signal = f"stopped by {received.name}"
        os.kill(self._child, received)

    def _exit_with_child(self) -> None:
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if not pid:
            return  # The child was suspended or continued.
        self._receive_messages()
        if self._last_line:
            console.print_line(self._last_line)
        if os.WIFSIGNALED(status) and not self._last_line:
            name = signal.Signals(os.WTERMSIG(status)).name
            message = f"the task was killed by {name}; {_RESUME}"
            exit_record.write(ExitRecord(128 + os.WTERMSIG(status), message))
            console.print_line(console.error_line(message))
        console.finish()
        os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

    def _kill(self, message: str, lost: Task | None) -> None:
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._receive_messages()
        exit_record.write(ExitRecord(EXIT_RESUME, message, lost))  # Unless the child has.
        console.print_line(self._last_line or console.error_line(message))
        console.finish()
        os._exit(EXIT_RESUME)


class _WatchedPeers:
    """The child's connections to its peers, while it may be blocked and cannot read them."""

    def __init__(self, message: Mapping[str, Any]):
        self.doing: str = message["doing"]
        self._timeout_s = message["timeout_s"]
        self._silence_s = message["silence_s"]
        self._peers: dict[int, Task | None] = {}  # By descriptor.
        self.lost: Task | None = None  # Once `failure` has found one.
        self._deadline = time.monotonic() + self._timeout_s
        self._waiting: dict[int, tuple[int, float]] = {}  # Bytes, and since when.

    def add(self, peers: list, fds: list[int]) -> None:
        self._peers |= dict(zip(fds, map(Task.from_json, peers), strict=True))
        self.reset_silence()

    def reset_silence(self) -> None:
        """Measures silence from now on: until now the child could read for itself."""
        now = time.monotonic()
        self._waiting = {fd: (_bytes_waiting(fd), now) for fd in self._peers}

    def failure(self) -> str | None:
        """Why the child must end, or None. Heartbeats stay unread, so waiting bytes only increase."""
        now = time.monotonic()
        for fd in self._closed():
            self.lost = self._peers[fd]
            return f"{self.lost} was lost (its connection closed)"
        for fd, (waiting, since) in self._waiting.items():
            if (waiting_now := _bytes_waiting(fd)) != waiting:
                self._waiting[fd] = waiting_now, now
            elif now - since > self._silence_s:
                self.lost = self._peers[fd]
                return f"{self.lost} was lost (not heard from for {self._silence_s:g} s)"
        if now > self._deadline:
            return f"timed out after {self._timeout_s:g} s"
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
