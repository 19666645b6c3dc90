"""Does the peer know the secret too?

A challenge and response shows it. Each side sends a random nonce. Then the caller sends its introduction
with a proof, an HMAC of both nonces and the introduction; then the listener does the same. So recorded
messages cannot be replayed. The caller proves first: the listener tells strangers nothing.
"""

import random
import secrets
import selectors
import socket
import time
from typing import Any, NamedTuple

from absl import logging

from strategies.network.connection import JsonConnection, Message, ProtocolError
from strategies.network.shared_secret import FLAG, is_proof, proof

_MAX_CALLERS = 64
_NONCE_BYTES = 16
_REFUSED: Message = {"muster": "refused"}


class AuthenticationError(ProtocolError):
    """The peer follows the protocol and does not know the secret."""


class AuthenticatedConnection(NamedTuple):
    """A connection on which both sides have proved that they know the key.

    `introduction` is the peer's.
    """

    link: JsonConnection
    introduction: dict[str, Any]
    key: bytes
    nonces: list[str]

    def send(self, message: Message) -> None:
        """Sends a message with a proof. Raises OSError, as `JsonConnection.send`."""
        self.link.send({**message, "proof": proof(self.key, "message", self.nonces, message)})

    def receive(self, deadline: float) -> Message:
        """The next message. Raises as `JsonConnection.receive`; AuthenticationError if it is forged."""
        message = self.link.receive(deadline)
        claimed = message.pop("proof", None)
        if not is_proof(claimed, self.key, "message", self.nonces, message):
            raise AuthenticationError
        return message


def call(
    link: JsonConnection, key: bytes, introduction: dict[str, Any], deadline: float
) -> AuthenticatedConnection:
    """The caller's side of the handshake. `deadline` is a value of time.monotonic.

    Raises:
      AuthenticationError: the listener does not know the key, or found that this side does not.
      OSError, EOFError, ProtocolError: as `JsonConnection.send` and `JsonConnection.receive`.
    """
    nonce = secrets.token_hex(_NONCE_BYTES)
    link.send({"muster": "hello", "nonce": nonce})
    nonces = [nonce, _nonce(link.receive(deadline))]
    link.send(_introduce(key, "caller", nonces, introduction))
    answer = link.receive(deadline)
    if answer == _REFUSED:
        raise AuthenticationError
    return AuthenticatedConnection(link, _verified(answer, key, "listener", nonces), key, nonces)


def greet(link: JsonConnection, deadline: float) -> None:
    """Asks whether a task listens, without taking part in its roll call.

    Raises as `call`: ProtocolError where another program answers.
    """
    link.send({"muster": "hello", "nonce": secrets.token_hex(_NONCE_BYTES)})
    _nonce(link.receive(deadline))


class AuthenticatingListener:
    """Accepts the callers at a listening socket that know the key, one after another.

    Other programs may connect too and send nothing, or anything: they do not delay the callers. Closing
    this closes the connections that are still in the handshake, and leaves the socket open.

    Args:
      listener: the listening socket.
      key: the secret.
      introduction: sent to the callers that proved that they know the key.
      recv_bytes: as of `JsonConnection`.
    """

    def __init__(
        self,
        listener: socket.socket,
        key: bytes,
        introduction: dict[str, Any],
        recv_bytes: int = 1 << 16,
    ):
        self.rejected_hosts: set[str] = set()  # Of callers that do not know the key.
        self._listener = listener
        self._key = key
        self._introduction = introduction
        self._recv_bytes = recv_bytes
        # The callers in the handshake, with both nonces once they are exchanged.
        self._callers: dict[JsonConnection, list[str]] = {}
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        self._selector.close()
        for link in self._callers:
            link.close()

    def next_caller(self, deadline: float) -> AuthenticatedConnection | None:
        """The next caller that knows the key; None at `deadline`, a value of time.monotonic."""
        while (left_s := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._callers and (caller := self._read(key.fileobj)):
                    return caller
        return None

    def _accept(self) -> None:
        try:
            link = JsonConnection(self._listener.accept()[0], self._recv_bytes)
        except OSError:
            return  # It disconnected first.
        if len(self._callers) >= _MAX_CALLERS:
            # A random one, so that a flood of strangers cannot reliably push out a caller with the key.
            self._reject(random.choice([*self._callers]))
        self._callers[link] = []
        self._selector.register(link, selectors.EVENT_READ)

    def _reject(self, link: JsonConnection) -> None:
        self._selector.unregister(link)
        del self._callers[link]
        link.close()

    def _read(self, link: JsonConnection) -> AuthenticatedConnection | None:
        try:
            link.fill()
            return self._answer(link, link.inbox.popleft()) if link.inbox else None
        except (EOFError, OSError, ProtocolError):
            self._reject(link)
            return None

    def _answer(self, link: JsonConnection, message: Message) -> AuthenticatedConnection | None:
        nonces = self._callers[link]
        if not nonces:
            nonces += [_nonce(message), secrets.token_hex(_NONCE_BYTES)]
            link.send({"muster": "hello", "nonce": nonces[1]})
            return None
        try:
            introduction = _verified(message, self._key, "caller", nonces)
        except AuthenticationError:
            if link.host not in self.rejected_hosts:
                self.rejected_hosts.add(link.host)
                logging.warning(
                    "a caller from %s does not know the secret (%s), and was rejected",
                    link.host,
                    FLAG,
                )
            link.send(_REFUSED)
            raise
        link.send(_introduce(self._key, "listener", nonces, self._introduction))
        self._selector.unregister(link)
        del self._callers[link]
        return AuthenticatedConnection(link, introduction, self._key, nonces)


def reason(error: Exception) -> str:
    """Why a call failed, in a few words."""
    reasons = {
        socket.gaierror: "name does not resolve",
        UnicodeError: "name does not resolve",  # From a label too long for any name.
        ConnectionRefusedError: "refused",
        TimeoutError: "no answer",
        AuthenticationError: "it does not know the secret",
        ProtocolError: "another program answers there",
        EOFError: "it closed the connection",
    }
    for kind, words in reasons.items():
        if isinstance(error, kind):
            return words
    return getattr(error, "strerror", None) or str(error)


def _nonce(message: Message) -> str:
    nonce = message.get("nonce")
    if message.get("muster") != "hello" or not isinstance(nonce, str):
        raise ProtocolError
    return nonce


def _introduce(key: bytes, role: str, nonces: list[str], introduction: dict[str, Any]) -> Message:
    return {"introduction": introduction, "proof": proof(key, role, nonces, introduction)}


def _verified(message: Message, key: bytes, role: str, nonces: list[str]) -> dict[str, Any]:
    introduction = message.get("introduction")
    if not isinstance(introduction, dict):
        raise ProtocolError
    if not is_proof(message.get("proof"), key, role, nonces, introduction):
        raise AuthenticationError
    return introduction
