"""How does one task talk to another?

One JSON object to a line, over a connection of its own beside TensorFlow's. Nothing here is trusted:
a line has a bound, every wait a deadline, and what is no JSON object is a `ProtocolError`.
"""

import collections
import json
import select
import socket
import threading
import time
from typing import Any

MAX_LINE_BYTES = 1 << 20
_SEND_TIMEOUT_S = 5.0

Message = dict[str, Any]


class ProtocolError(Exception):
    """The other end of the connection speaks some other language."""


class JsonConnection:
    """A connection to one task. Sending is safe from any thread; reading belongs to one."""

    def __init__(self, connection: socket.socket, at_a_time: int = 1 << 16):
        """`at_a_time`: bytes to read at most. With 1, what follows a message stays unread."""
        connection.settimeout(_SEND_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbox: collections.deque[Message] = collections.deque()
        self._connection = connection
        self._at_a_time = at_a_time
        self._partial = b""
        self._sending = threading.Lock()

    def fileno(self) -> int:
        return self._connection.fileno()

    @property
    def host(self) -> str:
        """The address of the other end. Raises OSError where there is none any more."""
        return self._connection.getpeername()[0].removeprefix("::ffff:")

    def send(self, message: Message) -> None:
        """Sends one message. Raises OSError when the other end does not take it within 5 s."""
        line = json.dumps(message).encode() + b"\n"
        with self._sending:
            self._connection.sendall(line)

    def fill(self) -> None:
        """Reads once, and puts the messages that are now complete into `inbox`.

        Raises:
          EOFError: the other end is gone.
          ProtocolError: it sent what is no message.
        """
        try:
            received = self._connection.recv(self._at_a_time)
        except TimeoutError:
            return
        except OSError as error:
            raise EOFError from error
        if not received:
            raise EOFError
        *lines, self._partial = (self._partial + received).split(b"\n")
        self.inbox.extend(_message(line) for line in lines)
        if len(self._partial) > MAX_LINE_BYTES:
            raise ProtocolError

    def receive(self, deadline: float) -> Message:
        """The next message. Raises TimeoutError at `deadline` (of time.monotonic), else as `fill`."""
        while not self.inbox:
            if not self.is_readable(deadline - time.monotonic()):
                raise TimeoutError
            self.fill()
        return self.inbox.popleft()

    def is_readable(self, timeout_s: float = 0.0) -> bool:
        """True as soon as there is something to read, be it the end of the connection."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def shut_down(self) -> None:
        """Ends the connection for both sides, and wakes whoever waits on it here."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # The other end was faster.

    def detach(self) -> socket.socket:
        """The connection, which is the caller's from now on."""
        return self._connection

    def close(self) -> None:
        self._connection.close()


def _message(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError from None
    if not isinstance(message, dict):
        raise ProtocolError
    return message
