"""How does a connection begin?

With TLS, where there is a secret or a certificate: then each side has proved what `security.py` asks for.
Then the caller introduces itself, and the listener answers with its own introduction. `Handshake.call` is
the caller's side; the other is in `listener.py`. The caller speaks first: strangers learn nothing.
"""

import contextlib
import dataclasses
import json
import select
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from strategies.network.connection import (
    AuthenticationError,
    JsonConnection,
    Message,
    ProtocolError,
    is_ready,
)
from strategies.network.security import Security

PLAIN_START, TLS_START = b'{"muster"', b"\x16\x03"  # The first bytes of either kind of caller.
REFUSED: Message = {"muster": "refused"}
GREETING: Message = {"muster": "greeting"}  # Asks whether a task listens, and answers that.
_REFUSED_LINE = json.dumps(REFUSED).encode() + b"\n"
_PEEK_BYTES = 4096


class Peer(NamedTuple):
    """A connection after its handshake, and how the other side introduced itself."""

    link: JsonConnection
    introduction: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Handshake:
    """What this side of a connection presents and expects.

    Attributes:
      security: what both sides must prove.
      introduction: sent to a peer that proved it.
      accepts: whether the peer's introduction is a valid one.
      name: of what is called, as [a-z0-9]. It is sent unencrypted, so that a listener that rejects a
        caller knows whether they were to meet: whether the two have the same cluster.
      recv_bytes: as of `JsonConnection`.
    """

    security: Security
    introduction: dict[str, Any]
    accepts: Callable[[dict[str, Any]], bool]
    name: str = "any"
    recv_bytes: int = 1 << 16

    def hello(self) -> Message:
        return {"muster": "hello", "to": self.name, "introduction": self.introduction}

    def call(self, connection: socket.socket, deadline: float) -> Peer:
        """The caller's side, until `deadline`, a value of time.monotonic.

        It owns the connection, and closes it where it raises:

        Raises:
          AuthenticationError: one of the two does not trust the other.
          OSError, EOFError, ProtocolError: as `JsonConnection.send` and `JsonConnection.receive`.
        """
        link = self._open(connection, deadline)
        try:
            with contextlib.suppress(OSError):  # Why it was refused may be there to read.
                link.send(self.hello())
            return Peer(link, self.check(link.receive(deadline)))
        except BaseException:
            link.close()
            raise

    def greet(self, connection: socket.socket, deadline: float) -> None:
        """Asks whether a task listens that trusts this side, without an introduction.

        It owns the connection, and closes it. Raises as `call`: ProtocolError if another program answers.
        """
        link = self._open(connection, deadline)
        try:
            link.send(GREETING)
            answer = link.receive(deadline)
        finally:
            link.close()
        if answer == REFUSED:
            raise AuthenticationError(self.security.refusal())
        if answer != GREETING:
            raise ProtocolError

    def _open(self, connection: socket.socket, deadline: float) -> JsonConnection:
        """The connection once its TLS, if any, is complete. Closes it where it raises, as `call`."""
        try:
            connection.setblocking(False)
            if context := self.security.client:
                connection = context.wrap_socket(
                    connection,
                    do_handshake_on_connect=False,
                    server_hostname=f"{self.name}.muster",
                )
                self._secure(connection, deadline)
            return JsonConnection(connection, self.recv_bytes)
        except BaseException:
            connection.close()
            raise

    def check(self, message: Message) -> dict[str, Any]:
        """The introduction in a peer's hello.

        Raises:
          AuthenticationError: the peer refuses this side.
          ProtocolError: it is not a hello, or not a valid one.
        """
        if message == REFUSED:
            raise AuthenticationError(self.security.refusal())
        introduction = message.get("introduction")
        if message.get("muster") != "hello" or not isinstance(introduction, dict):
            raise ProtocolError
        if not self.accepts(introduction):
            raise ProtocolError
        return introduction

    def _secure(self, connection: Any, deadline: float) -> None:
        try:
            while not self.security.step(connection):
                if not is_ready(connection, select.POLLIN, deadline - time.monotonic()):
                    raise TimeoutError
        except AuthenticationError:
            raise
        except ProtocolError:
            # OpenSSL has read the head of a record, which a refusal without TLS does not have.
            if (rest := peek(connection)) and _REFUSED_LINE.endswith(rest):
                raise AuthenticationError(self.security.refusal()) from None
            raise


def peek(connection: socket.socket) -> bytes:
    """What can be read from a connection, unread and without TLS. Raises OSError if it is lost."""
    try:
        return socket.socket.recv(connection, _PEEK_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def reason(error: Exception) -> str:
    """Why a call failed, in a few words."""
    if isinstance(error, AuthenticationError):
        return str(error)
    reasons = {
        socket.gaierror: "name does not resolve",
        UnicodeError: "name does not resolve",  # From a label too long for any name.
        ConnectionRefusedError: "refused",
        TimeoutError: "no answer",
        ProtocolError: "another program answers there",
        EOFError: "it closed the connection",
    }
    for kind, words in reasons.items():
        if isinstance(error, kind):
            return words
    return getattr(error, "strerror", None) or str(error)
