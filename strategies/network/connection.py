"""How do two tasks exchange messages?

Each message is a JSON object on one line, over a TCP connection that TensorFlow does not use. The peer
is not trusted: a line has a maximum length, every wait a deadline, and anything else than a JSON object
is a `ProtocolError`.
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
    """The peer sent something that is not a message of this protocol."""


class JsonConnection:
    """A connection to one peer. Any thread may send; only one thread may read.

    `recv_bytes`: how many bytes to read at once, at most. With 1, what follows a message stays unread.
    """

    def __init__(self, connection: socket.socket, recv_bytes: int = 1 << 16):
        connection.settimeout(_SEND_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbox: collections.deque[Message] = collections.deque()
        self._connection = connection
        self._recv_bytes = recv_bytes
        self._partial = b""
        self._sending = threading.Lock()

    def fileno(self) -> int:
        return self._connection.fileno()

    @property
    def host(self) -> str:
        """The IP address of the peer. Raises OSError once the connection is lost."""
        return self._connection.getpeername()[0].removeprefix("::ffff:")

    def send(self, message: Message) -> None:
        """Sends one message. Raises OSError (TimeoutError after 5 s) where it cannot be sent."""
        line = json.dumps(message).encode() + b"\n"
        with self._sending:
            self._connection.sendall(line)

    def fill(self) -> None:
        """Reads once, and appends the messages that are now complete to `inbox`.

        Raises:
          EOFError: the connection is closed or lost.
          ProtocolError: the peer sent something that is not a message.
        """
        try:
            received = self._connection.recv(self._recv_bytes)
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
        """The next message.

        Raises:
          TimeoutError: none arrived until `deadline`, a value of time.monotonic.
          EOFError, ProtocolError: as `fill`.
        """
        while not self.inbox:
            if not self.is_readable(deadline - time.monotonic()):
                raise TimeoutError
            self.fill()
        return self.inbox.popleft()

    def is_readable(self, timeout_s: float = 0.0) -> bool:
        """Whether there is something to read within `timeout_s`. The end of the connection counts."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def shut_down(self) -> None:
        """Ends the connection for both sides, and wakes the thread that reads it here."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # The peer closed it first.

    def detach(self) -> socket.socket:
        """The socket. From now on the caller owns it and must close it."""
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
