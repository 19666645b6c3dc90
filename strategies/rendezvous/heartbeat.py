"""Is every peer still alive?

`Heartbeat` sends every peer a beat each second, from a daemon thread. It reports a peer whose connection
closes at once, and one that is stopped or unreachable after `peer_timeout_s` of silence.
"""

import contextlib
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping

from strategies.cluster.spec import Task
from strategies.network.connection import JsonConnection, Message, ProtocolError

_BEAT_EVERY_S = 1.0
_JOIN_TIMEOUT_S = 5.0


class Heartbeat:
    """The connections to the peers, which one thread reads from `start` until `close`.

    The callbacks run on that thread. Without peers there is no thread, and every method does nothing.

    Args:
      connections: by peer.
      lock: held while the state of a connection changes, and while `on_reconnect` runs.
      on_message: called with each message of a peer, in order.
      on_disconnect: called once when a connection is lost, with the reason. `disconnect` calls it on
        its caller's thread.
      on_reconnect: called when a connection that `reconnect` was given has replaced the lost one.
      after_poll: called after each round of reading, at least once a second.
    """

    def __init__(
        self,
        connections: Mapping[Task, JsonConnection],
        lock: threading.Condition,
        on_message: Callable[[Task, Message], None],
        on_disconnect: Callable[[Task, str], None],
        on_reconnect: Callable[[Task], None],
        after_poll: Callable[[], None],
    ):
        self.connections = dict(connections)  # With those that are closed.
        self.peer_timeout_s = math.inf
        self._lock = lock
        self._on_message, self._after_poll = on_message, after_poll
        self._on_disconnect, self._on_reconnect = on_disconnect, on_reconnect
        self._last_heard = dict.fromkeys(connections, time.monotonic())
        self._closed: set[Task] = set()
        self._replacements: list[tuple[Task, JsonConnection]] = []  # Connected, not yet watched.
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        if self.connections:
            self._waker, self._woken = socket.socketpair()
            self._thread.start()

    @property
    def is_closing(self) -> bool:
        return self._is_closing

    @property
    def open_connections(self) -> Mapping[Task, JsonConnection]:
        return {task: one for task, one in self.connections.items() if task not in self._closed}

    def send(self, message: Message) -> None:
        """Sends a message to every connected peer. Safe from any thread."""
        for connection in self.open_connections.values():
            with contextlib.suppress(OSError):  # Reading from it, or its silence, shows the loss.
                connection.send(message)

    def wake(self) -> None:
        """Starts the next round of reading now."""
        if self.connections:
            with contextlib.suppress(OSError):  # Already closed: there is no thread to wake.
                self._waker.send(b".")

    def disconnect(self, task: Task, reason: str) -> None:
        """Ends the connection to a peer, and reports it as lost for this reason."""
        self._mark_closed(task, reason)
        self.connections[task].shut_down()
        self.wake()

    def reconnect(self, task: Task, connection: JsonConnection) -> None:
        """Watches this connection to a lost peer from now on; closes it after `close`."""
        with self._lock:
            if self._is_closing:
                connection.close()
                return
            self._replacements.append((task, connection))
        self.wake()

    def close(self) -> None:
        """Ends the connections. Safe to call again, and from a callback."""
        with self._lock:
            if self._is_closing:
                return
            self._is_closing = True
        if not self.connections:
            return
        for connection in self.connections.values():
            connection.shut_down()
        self.wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_TIMEOUT_S)
        for connection in (*self.connections.values(), *(one for _, one in self._replacements)):
            connection.close()
        self._waker.close()
        self._woken.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for task, connection in self.connections.items():
                selector.register(connection, selectors.EVENT_READ, task)
                self._handle_received(task)  # It may have arrived with the roll call's last line.
            selector.register(self._woken, selectors.EVENT_READ)
            next_beat = time.monotonic()
            while not self._is_closing:
                before = time.monotonic()
                self._read(selector, next_beat - before)
                self._replace_connections(selector)
                if time.monotonic() >= next_beat:
                    self.send({"beat": True})
                    next_beat = time.monotonic() + _BEAT_EVERY_S
                # A process that was itself stopped finds the beats of its peers waiting. So only
                # what was overdue before reading counts as silence.
                self._disconnect_silent_peers(before)
                self._after_poll()

    def _read(self, selector: selectors.BaseSelector, timeout_s: float) -> None:
        for key, _ in selector.select(max(0.0, timeout_s)):
            if key.fileobj is self._woken:
                self._woken.recv(64)
                continue
            try:
                self.connections[key.data].fill()
                self._handle_received(key.data)
            except (EOFError, ProtocolError, TypeError, ValueError):
                selector.unregister(key.fileobj)
                self._mark_closed(key.data, "its connection closed")

    def _handle_received(self, task: Task) -> None:
        inbox = self.connections[task].inbox
        self._last_heard[task] = time.monotonic()
        while inbox:
            self._on_message(task, inbox.popleft())

    def _replace_connections(self, selector: selectors.BaseSelector) -> None:
        while self._replacements:
            with self._lock:
                task, connection = self._replacements.pop()
                before, self.connections[task] = self.connections[task], connection
                self._closed.discard(task)
                self._on_reconnect(task)
            with contextlib.suppress(KeyError):  # Not registered: its end was read.
                selector.unregister(before)
            before.close()
            selector.register(connection, selectors.EVENT_READ, task)
            self._handle_received(task)

    def _disconnect_silent_peers(self, now: float) -> None:
        for task, heard in self._last_heard.items():
            if task not in self._closed and now - heard > self.peer_timeout_s:
                # A stopped peer that continues reads from its closed connection that it is lost.
                self.disconnect(task, f"not heard from for {self.peer_timeout_s:g} s")

    def _mark_closed(self, task: Task, reason: str) -> None:
        with self._lock:
            is_closed = task in self._closed
            self._closed.add(task)
        if not is_closed:
            self._on_disconnect(task, reason)
