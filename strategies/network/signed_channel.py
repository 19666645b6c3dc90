"""How do a sweep's chief and a client talk, so that nobody else can put in a word?

After the handshake each message is signed with the secret over this connection's nonces. It also says
who sends it and the how-manieth it is, and that is signed too: so what was heard on the wire cannot be
said again, not even on the same connection, nor be thrown back at who said it, nor left out.
"""

import threading

from strategies.network.connection import Message
from strategies.network.handshake import AuthenticatedConnection, AuthenticationError

CHIEF, CLIENT = "chief", "client"


class SignedChannel:
    """A connection after its handshake. Sending is safe from any thread; reading belongs to one."""

    def __init__(self, met: AuthenticatedConnection, role: str):
        """`role`: which of the two this end is."""
        self._met = met
        self._role = role
        self._other = CLIENT if role == CHIEF else CHIEF
        self._sent = self._received = 0
        self._sending = threading.Lock()

    @property
    def host(self) -> str:
        """The other end's address. Raises OSError where there is none any more."""
        return self._met.link.host

    def send(self, message: Message) -> None:
        """Raises OSError where the other end does not take it within 5 s: then this one is done for."""
        with self._sending:
            self._met.send({"message": message, "from": self._role, "count": self._sent})
            self._sent += 1

    def receive(self, deadline: float) -> Message:
        """The next message.

        Raises:
          TimeoutError: there is none at `deadline`, of time.monotonic.
          EOFError: the other end is gone.
          ProtocolError: it speaks another language, or (AuthenticationError) somebody else put in a word.
        """
        said = self._met.receive(deadline)
        if (said.get("from"), said.get("count")) != (self._other, self._received):
            raise AuthenticationError
        self._received += 1
        message = said.get("message")
        return message if isinstance(message, dict) else {}

    def shut_down(self) -> None:
        """Ends the connection for both sides, and wakes whoever reads it here."""
        self._met.link.shut_down()

    def close(self) -> None:
        self._met.link.close()
