"""How do a sweep's chief and a client exchange messages that nobody else can forge?

After the handshake each message is signed with the secret and this connection's nonces. The signature
covers the sender's role and the message's number too. So a recorded message cannot be replayed, even on
the same connection, nor sent back to its sender, and none can be left out unnoticed.
"""

import threading

from strategies.network.connection import Message
from strategies.network.handshake import AuthenticatedConnection, AuthenticationError

SERVER, CLIENT = "server", "client"


class SignedChannel:
    """A connection after its handshake. Any thread may send; only one thread may read.

    `role`: of this side, SERVER or CLIENT.
    """

    def __init__(self, connection: AuthenticatedConnection, role: str):
        self._connection = connection
        self._role = role
        self._peer_role = CLIENT if role == SERVER else SERVER
        self._num_sent = self._num_received = 0
        self._sending = threading.Lock()

    @property
    def host(self) -> str:
        """The IP address of the peer. Raises OSError once the connection is lost."""
        return self._connection.link.host

    def send(self, message: Message) -> None:
        """Sends a message. Raises OSError (TimeoutError after 5 s): then the channel is unusable."""
        with self._sending:
            signed = {"message": message, "from": self._role, "count": self._num_sent}
            self._connection.send(signed)
            self._num_sent += 1

    def receive(self, deadline: float) -> Message:
        """The next message.

        Raises:
          TimeoutError: none arrived until `deadline`, a value of time.monotonic.
          EOFError: the connection is closed or lost.
          ProtocolError: the peer sent something that is not a message.
          AuthenticationError: a message is forged, replayed or missing.
        """
        signed = self._connection.receive(deadline)
        if (signed.get("from"), signed.get("count")) != (self._peer_role, self._num_received):
            raise AuthenticationError
        self._num_received += 1
        message = signed.get("message")
        return message if isinstance(message, dict) else {}

    def shut_down(self) -> None:
        """Ends the connection for both sides, and wakes the thread that reads it here."""
        self._connection.link.shut_down()

    def close(self) -> None:
        self._connection.link.close()
