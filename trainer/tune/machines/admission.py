"""Which clients may take part in a sweep, and which are connected?

`Admission` admits clients with the server's fingerprint, one per name.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from strategies.errors import ClusterError, Resumable
from strategies.network.connection import JsonConnection, ProtocolError
from strategies.rendezvous.mismatch import difference, plain
from trainer.tune.machines import messages
from trainer.tune.machines.client_session import ClientSession
from trainer.tune.machines.role import NAME_PATTERN

_POLL_INTERVAL_S, _LONGEST_POLL_S = 0.1, 0.5
_TAKEOVER_S = 5.0  # After this silence a client is replaced by a new one of the same name.
_MAX_CLIENTS = 250


class Admission:
    """The clients of a sweep. Safe to call from any thread.

    Args:
      fingerprint: what every client must have in common with the server, as JSON.
      make_session: makes the session of a client from its channel and name.
      peer_timeout_s: seconds of silence after which a client is lost.
    """

    def __init__(
        self,
        fingerprint: Mapping[str, Any],
        make_session: Callable[[JsonConnection, str], ClientSession],
        peer_timeout_s: float,
    ):
        self.had_client = False  # At least one was admitted.
        self.seen_names: set[str] = set()  # The names of all callers, admitted or refused.
        self._fingerprint = plain(fingerprint)
        self._make_session = make_session
        self._takeover_s = min(_TAKEOVER_S, peer_timeout_s)
        self._sessions: dict[str, ClientSession] = {}
        self._changed = threading.Condition()
        self._is_open = True
        self._empty_since = time.monotonic()

    def sessions(self) -> list[ClientSession]:
        """Those of the connected clients."""
        with self._changed:
            return [*self._sessions.values()]

    def seconds_without_clients(self) -> float:
        """How long no client has been connected; 0 if one is."""
        with self._changed:
            return 0.0 if self._sessions else time.monotonic() - self._empty_since

    def admit(self, channel: JsonConnection, hello: Mapping[str, Any]) -> ClientSession:
        """The session of a caller, which must be passed to `remove` at its end.

        `hello` is what the caller sent in its handshake.

        Raises:
          ClusterError: its fingerprint differs from the server's, or its name is in use.
          Resumable: no more clients are admitted.
          ProtocolError: the caller is not a client of a sweep.
        """
        name, fingerprint = hello.get("name"), hello.get("fingerprint")
        if not isinstance(fingerprint, dict):
            raise ProtocolError
        if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
            raise ProtocolError
        if error := difference({"the server": self._fingerprint, f"client {name}": fingerprint}):
            self.seen_names.add(name)
            raise ClusterError(messages.parse_line(str(error)))
        session = self._make_session(channel, name)
        with self._changed:
            if previous := self._sessions.get(name):
                self._take_over(previous, session)
            if not self._is_open or len(self._sessions) >= _MAX_CLIENTS:
                raise Resumable(
                    f"the sweep's server has {len(self._sessions)} clients and admits no more; run the "
                    "same command again to resume."
                )
            self._sessions[name] = session
            self.seen_names.add(name)
            self.had_client = True
        return session

    def remove(self, session: ClientSession) -> None:
        """Removes a client whose session has ended."""
        with self._changed:
            del self._sessions[session.name]
            self._empty_since = time.monotonic()
            self._changed.notify_all()

    def close(self, disconnect: Callable[[ClientSession], None], timeout_s: float) -> None:
        """Admits no more clients, and returns when all have been removed, or after `timeout_s`.

        `disconnect` is called with every session.
        """
        with self._changed:
            self._is_open = False
        for session in self.sessions():
            disconnect(session)
        with self._changed:
            self._changed.wait_for(lambda: not self._sessions, timeout_s)

    def _take_over(self, previous: ClientSession, new: ClientSession) -> None:
        """Returns when the previous client of this name is gone.

        A client whose connection broke may be back before its silence counts as a loss. If the previous
        one still sends messages after half of the time that this waits, both are alive, and this raises
        ClusterError. What arrives sooner may have been on its way: a client sends heartbeats three times
        in its `peer_timeout_s`.
        """
        alive_at = new.last_heard + self._takeover_s / 2
        waited_s, polled_at = 0.0, time.monotonic()
        while self._sessions.get(previous.name) is previous and previous.last_heard < alive_at:
            if waited_s > self._takeover_s:
                previous.channel.shut_down()
            self._changed.wait(_POLL_INTERVAL_S)
            now = time.monotonic()
            # After a longer pause this machine was suspended, and nothing that arrived was read.
            waited_s += min(now - polled_at, _LONGEST_POLL_S)
            polled_at = now
        if previous.name in self._sessions:
            raise ClusterError(
                f"two clients of a sweep must not have the same name. Received: {new}, while {previous} "
                "is connected; give each machine its own --task or KERASTUNER_TUNER_ID."
            )
