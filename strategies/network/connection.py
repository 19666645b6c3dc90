"""How do two tasks exchange messages?

Each message is a JSON object on one line, over a TCP connection that TensorFlow does not use, plain or
within TLS. The peer is not trusted: a line has a maximum length and depth, every wait a deadline, and
anything else than a JSON object is a `ProtocolError`.
"""

import collections
import json
import select
import socket
import ssl
import threading
import time
from typing import Any

MAX_LINE_BYTES = 1 << 20
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_MAX_DEPTH = 32  # Of lists and objects within each other; a config has five.
_SEND_TIMEOUT_S = 5.0

Message = dict[str, Any]


class ProtocolError(Exception):
    """The peer sent something that is not a message of this protocol."""


class AuthenticationError(ProtocolError):
    """The peer follows the protocol, and the two do not trust each other. The text is the reason."""


class JsonConnection:
    """A connection to one peer. Any thread may send; only one thread may read.

    `recv_bytes`: how many bytes to read at once, at most. With 1, what follows a message stays unread.
    """

    def __init__(self, connection: socket.socket, recv_bytes: int = 1 << 16):
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbox: collections.deque[Message] = collections.deque()
        self._connection = connection
        self._recv_bytes = recv_bytes
        self._partial = bytearray()
        self._sending = threading.Lock()
        self._using = threading.Lock()  # OpenSSL takes one call at a time.

    def fileno(self) -> int:
        return self._connection.fileno()

    @property
    def host(self) -> str:
        """The IP address of the peer. Raises OSError once the connection is lost."""
        return self._connection.getpeername()[0].removeprefix("::ffff:")

    def send(self, message: Message) -> None:
        """Sends one message. Raises OSError (TimeoutError after 5 s) where it cannot be sent."""
        left = memoryview(json.dumps(message).encode() + b"\n")
        deadline = time.monotonic() + _SEND_TIMEOUT_S
        with self._sending:
            while left:
                try:
                    with self._using:
                        left = left[self._connection.send(left) :]
                except WOULD_BLOCK:
                    if not self._is_ready(select.POLLOUT, deadline - time.monotonic()):
                        raise TimeoutError("timed out") from None

    def fill(self) -> None:
        """Reads what has arrived, and appends the messages that are now complete to `inbox`.

        Raises:
          EOFError: the connection is closed or lost.
          AuthenticationError: the peer does not trust this side.
          ProtocolError: the peer sent something that is not a message.
        """
        self._read()
        while not self.inbox and self._pending():  # No poll shows what TLS has decrypted already.
            self._read()

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
        return self._pending() > 0 or self._is_ready(select.POLLIN, timeout_s)

    def shut_down(self) -> None:
        """Ends the connection for both sides, and wakes the thread that reads it here."""
        try:
            # Not SSLSocket's own method, which would let other threads use it without TLS.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
        except OSError:
            pass  # The peer closed it first.

    def detach(self) -> socket.socket:
        """The socket, which does not block. From now on the caller owns it and must close it."""
        return self._connection

    def close(self) -> None:
        with self._using:
            self._connection.close()

    def _read(self) -> None:
        try:
            with self._using:
                received = self._connection.recv(self._recv_bytes)
        except WOULD_BLOCK:
            return
        except ssl.SSLError as error:
            if is_alert(error):
                raise AuthenticationError("it does not trust this task") from error
            raise EOFError from error
        except OSError as error:
            raise EOFError from error
        if not received:
            raise EOFError
        self._partial += received
        if b"\n" in received:
            *lines, self._partial = self._partial.split(b"\n")
            self.inbox.extend(_message(line) for line in lines)
        if len(self._partial) > MAX_LINE_BYTES:
            raise ProtocolError

    def _pending(self) -> int:
        if not isinstance(self._connection, ssl.SSLSocket):
            return 0
        with self._using:
            return self._connection.pending()

    def _is_ready(self, event: int, timeout_s: float) -> bool:
        try:
            return is_ready(self._connection, event, timeout_s)
        except ValueError:
            return True  # Another thread has closed it, as the next use shows.


def is_ready(connection: socket.socket, event: int, timeout_s: float) -> bool:
    """Whether the event, one of select.poll, occurs within `timeout_s`."""
    poll = select.poll()
    poll.register(connection, event)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def is_alert(error: ssl.SSLError) -> bool:
    """Whether the peer ended a TLS connection with an alert."""
    return "ALERT" in (error.reason or "")


def _message(line: bytearray) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError from None
    if not isinstance(message, dict) or _is_too_deep(message):
        raise ProtocolError
    return message


def _is_too_deep(message: Message) -> bool:
    level: list[Any] = [message]
    for _ in range(_MAX_DEPTH):
        level = [item for value in level for item in _items(value)]
        if not level:
            return False
    return True


def _items(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
