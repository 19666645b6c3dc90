"""How does a task accept callers, among strangers who may send anything or nothing?

`AuthenticatingListener` runs the called side of all handshakes at once, none of which waits for another.
"""

import contextlib
import random
import selectors
import socket
import ssl
import time

from absl import logging

from strategies.network.connection import AuthenticationError, JsonConnection, ProtocolError
from strategies.network.handshake import (
    GREETING,
    PLAIN_START,
    REFUSED,
    TLS_START,
    Handshake,
    Peer,
    peek,
)

_MAX_CALLERS = 64


class _Caller:
    """A connection whose handshake is not complete. Until `link` exists, its TLS is not."""

    def __init__(self, connection: socket.socket, host: str):
        self.connection = connection
        self.host = host
        self.fd = connection.fileno()
        self.has_begun = False
        self.is_named = False  # It calls the name that this listener has.
        self.link: JsonConnection | None = None


class AuthenticatingListener:
    """Accepts the callers at a listening socket that pass the handshake, one after another.

    Other programs may connect too and send nothing, or anything: they do not delay the callers. Closing
    this closes the connections that are still in the handshake, and leaves the socket open.

    Attributes:
      rejected_hosts: the addresses of callers that were not trusted, or did not trust this side.
      rejected_by_name: those of them that called the name of this side's handshake.
    """

    def __init__(self, listener: socket.socket, handshake: Handshake):
        self.rejected_hosts: set[str] = set()
        self.rejected_by_name: set[str] = set()
        self._listener = listener
        self._handshake = handshake
        self._callers: dict[int, _Caller] = {}  # By file descriptor.
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        self._selector.close()
        for caller in self._callers.values():
            caller.connection.close()

    def next_caller(self, deadline: float) -> Peer | None:
        """The next caller that passes; None at `deadline`, a value of time.monotonic."""
        while (left_s := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                if key.fileobj is self._listener:
                    self._accept()
                elif (caller := self._callers.get(key.fd)) and (peer := self._advance(caller)):
                    return peer
        return None

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:
            return  # It disconnected first.
        if len(self._callers) >= _MAX_CALLERS:
            # A random one, so that a flood of strangers cannot reliably push out a caller that passes.
            self._drop(random.choice([*self._callers.values()]))
        connection.setblocking(False)
        caller = _Caller(connection, address[0].removeprefix("::ffff:"))
        self._callers[caller.fd] = caller
        self._selector.register(caller.fd, selectors.EVENT_READ)

    def _drop(self, caller: _Caller) -> None:
        self._forget(caller)
        caller.connection.close()

    def _forget(self, caller: _Caller) -> None:
        self._selector.unregister(caller.fd)
        del self._callers[caller.fd]

    def _advance(self, caller: _Caller) -> Peer | None:
        try:
            if peer := self._read(caller):
                self._forget(caller)
            return peer
        except AuthenticationError as error:
            self._reject(caller, error)
        except (EOFError, OSError, ProtocolError):
            pass
        self._drop(caller)
        return None

    def _read(self, caller: _Caller) -> Peer | None:
        if not caller.has_begun:
            self._begin(caller)
        caller.link = caller.link or self._secured(caller.connection)
        if not caller.link:
            return None
        caller.link.fill()
        if not caller.link.inbox:
            return None
        message = caller.link.inbox.popleft()
        if message == GREETING:
            caller.link.send(GREETING)
            raise EOFError  # It wanted nothing else.
        introduction = self._handshake.check(message)
        caller.link.send(self._handshake.hello())
        return Peer(caller.link, introduction)

    def _secured(self, connection: socket.socket) -> JsonConnection | None:
        """The connection once its TLS, if any, is complete."""
        if isinstance(connection, ssl.SSLSocket) and not self._handshake.security.step(connection):
            return None
        return JsonConnection(connection, self._handshake.recv_bytes)

    def _begin(self, caller: _Caller) -> None:
        first, context = peek(caller.connection), self._handshake.security.server
        caller.has_begun = True
        caller.is_named = self._handshake.name.encode() in first
        if first.startswith(PLAIN_START if context else TLS_START):
            self._refuse(caller.connection)
        if context:
            caller.connection = context.wrap_socket(
                caller.connection, server_side=True, do_handshake_on_connect=False
            )

    def _refuse(self, connection: socket.socket) -> None:
        """Tells a caller that only one of the two uses TLS, which it cannot read within TLS."""
        JsonConnection(connection).send(REFUSED)
        with contextlib.suppress(OSError):
            connection.recv(1 << 16)  # What is unread when it closes could cost the answer.
        raise AuthenticationError(self._handshake.security.refusal())

    def _reject(self, caller: _Caller, error: AuthenticationError) -> None:
        if caller.is_named:
            self.rejected_by_name.add(caller.host)
        if caller.host not in self.rejected_hosts:
            self.rejected_hosts.add(caller.host)
            logging.warning("a caller from %s was rejected: %s", caller.host, error)
