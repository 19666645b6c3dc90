"""Does the other end of a connection know the secret too?

Challenge and response: each side makes up a nonce, then the caller says who it is and proves over both
nonces and what it said that it knows the key, and the called does likewise. So nothing that was heard
on the wire can be used again. The caller goes first, as anyone may call.
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
    """The other end speaks the protocol and does not know the secret."""


class AuthenticatedConnection(NamedTuple):
    """The other end of a connection, once both sides have shown that they know the key."""

    link: JsonConnection
    said: dict[str, Any]
    key: bytes
    nonces: list[str]

    def send(self, message: Message) -> None:
        """Sends a message that nobody else could have sent. Raises OSError, as `JsonConnection.send`."""
        self.link.send({**message, "proof": proof(self.key, "then", self.nonces, message)})

    def receive(self, deadline: float) -> Message:
        """The next such message. Raises as `JsonConnection.receive`; AuthenticationError if forged."""
        message = self.link.receive(deadline)
        claimed = message.pop("proof", None)
        if not is_proof(claimed, self.key, "then", self.nonces, message):
            raise AuthenticationError
        return message


def call(
    link: JsonConnection, key: bytes, says: dict[str, Any], deadline: float
) -> AuthenticatedConnection:
    """The handshake of who calls.

    Raises:
      AuthenticationError: the other end does not know the key, or finds that this one does not.
      OSError, EOFError, ProtocolError: as `JsonConnection.send` and `JsonConnection.receive`.
    """
    nonce = secrets.token_hex(_NONCE_BYTES)
    link.send({"muster": "hello", "nonce": nonce})
    nonces = [nonce, _nonce(link.receive(deadline))]
    link.send({"says": says, "proof": proof(key, "caller", nonces, says)})
    answer = link.receive(deadline)
    if answer == _REFUSED:
        raise AuthenticationError
    return AuthenticatedConnection(link, _said(answer, key, "called", nonces), key, nonces)


class AuthenticatingListener:
    """Lets in, one after another, whoever calls at a listener and knows the key.

    Strangers may call too, and say nothing or anything: none of them holds up the others. Closing it
    sends away who waits, and leaves the listener as it is.
    """

    def __init__(
        self, listener: socket.socket, key: bytes, says: dict[str, Any], at_a_time: int = 1 << 16
    ):
        """`says` is told to who proved that it knows the key; `at_a_time` is for the links."""
        self.imposters: set[str] = set()  # The hosts from which they called.
        self._listener = listener
        self._key = key
        self._says = says
        self._at_a_time = at_a_time
        self._callers: dict[
            JsonConnection, list[str]
        ] = {}  # With the nonces, once they are agreed.
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
        """The next one that knows the key; None at `deadline` (of time.monotonic)."""
        while (left_s := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                if key.fileobj is self._listener:
                    self._admit()
                elif key.fileobj in self._callers and (met := self._hear(key.fileobj)):
                    return met
        return None

    def _admit(self) -> None:
        try:
            link = JsonConnection(self._listener.accept()[0], self._at_a_time)
        except OSError:
            return  # It hung up before it was let in.
        if len(self._callers) >= _MAX_CALLERS:
            # Any of them, so that a flood cannot be sure to wash away the one that counts.
            self._turn_away(random.choice([*self._callers]))
        self._callers[link] = []
        self._selector.register(link, selectors.EVENT_READ)

    def _turn_away(self, link: JsonConnection) -> None:
        self._selector.unregister(link)
        del self._callers[link]
        link.close()

    def _hear(self, link: JsonConnection) -> AuthenticatedConnection | None:
        try:
            link.fill()
            return self._answer(link, link.inbox.popleft()) if link.inbox else None
        except (EOFError, OSError, ProtocolError):
            self._turn_away(link)
            return None

    def _answer(self, link: JsonConnection, message: Message) -> AuthenticatedConnection | None:
        nonces = self._callers[link]
        if not nonces:
            nonces += [_nonce(message), secrets.token_hex(_NONCE_BYTES)]
            link.send({"muster": "hello", "nonce": nonces[1]})
            return None
        try:
            said = _said(message, self._key, "caller", nonces)
        except AuthenticationError:
            if link.host not in self.imposters:
                self.imposters.add(link.host)
                logging.warning(
                    "a caller from %s does not know the secret (%s), and was turned away",
                    link.host,
                    FLAG,
                )
            link.send(_REFUSED)
            raise
        mine = {"says": self._says, "proof": proof(self._key, "called", nonces, self._says)}
        link.send(mine)
        self._selector.unregister(link)
        del self._callers[link]
        return AuthenticatedConnection(link, said, self._key, nonces)


def reason(error: Exception) -> str:
    """Why a call failed, in a word or two."""
    reasons = {
        socket.gaierror: "name does not resolve",
        UnicodeError: "name does not resolve",  # From a label too long for any name.
        ConnectionRefusedError: "refused",
        TimeoutError: "no answer",
        AuthenticationError: "it does not know the secret",
        ProtocolError: "another program answers there",
        EOFError: "it hung up",
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


def _said(message: Message, key: bytes, role: str, nonces: list[str]) -> dict[str, Any]:
    said = message.get("says")
    if not isinstance(said, dict):
        raise ProtocolError
    if not is_proof(message.get("proof"), key, role, nonces, said):
        raise AuthenticationError
    return said
