"""Who is let into a sweep, and who is there?"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from strategies.errors import ClusterError, Resumable
from strategies.network.connection import ProtocolError
from strategies.network.signed_channel import CLIENT, SignedChannel
from strategies.rendezvous.mismatch import difference, plain
from trainer.tune.machines import messages
from trainer.tune.machines.client_session import ClientSession
from trainer.tune.machines.role import IS_NAME

_LOOK_EVERY_S = 0.1
_TAKEOVER_S = 5.0  # A client silent for so long gives way to another of its name.
_MAX_GUESTS = 250


class Admission:
    """Lets in clients that carry this fingerprint, and no two of one name. Safe from any thread."""

    def __init__(
        self,
        fingerprint: Mapping[str, Any],
        make_guest: Callable[[SignedChannel, str], ClientSession],
        peer_timeout_s: float,
    ):
        self.was_used = False  # Somebody was let in.
        self.heard_of: set[str] = set()  # The names of all who came, let in or not.
        self._fingerprint = plain(fingerprint)
        self._make_guest = make_guest
        self._takeover_s = min(_TAKEOVER_S, peer_timeout_s)
        self._guests: dict[str, ClientSession] = {}
        self._changed = threading.Condition()
        self._is_open = True
        self._alone_since = time.monotonic()

    def guests(self) -> list[ClientSession]:
        with self._changed:
            return [*self._guests.values()]

    def alone_s(self) -> float:
        """For how long nobody has been there."""
        with self._changed:
            return 0.0 if self._guests else time.monotonic() - self._alone_since

    def let_in(self, wire: SignedChannel, said: Mapping[str, Any]) -> ClientSession:
        """The guest that a caller is after what it said in its handshake. Somebody sees to its `leave`.

        Raises:
          ClusterError: it carries another fingerprint than the server, or another's name.
          Resumable: nobody is let in any more.
          ProtocolError: it is no client.
        """
        name, theirs = said.get("name"), said.get("fingerprint")
        if said.get("sweep") != CLIENT or not isinstance(theirs, dict):
            raise ProtocolError
        if not isinstance(name, str) or not IS_NAME.fullmatch(name):
            raise ProtocolError
        if error := _difference({"the chief": self._fingerprint, f"client {name}": theirs}):
            self.heard_of.add(name)
            raise ClusterError(messages.line(error))
        guest = self._make_guest(wire, name)
        with self._changed:
            if first := self._guests.get(name):
                self._outlast(first, guest)
            if not self._is_open or len(self._guests) >= _MAX_GUESTS:
                raise Resumable(
                    f"the sweep has {len(self._guests)} clients, and takes no more now."
                )
            self._guests[name] = guest
            self.heard_of.add(name)
            self.was_used = True
        return guest

    def leave(self, guest: ClientSession) -> None:
        with self._changed:
            del self._guests[guest.name]
            self._alone_since = time.monotonic()
            self._changed.notify_all()

    def close(self, send_away: Callable[[ClientSession], None], timeout_s: float) -> None:
        """Lets in nobody any more, and returns when everyone has left, or after `timeout_s`."""
        with self._changed:
            self._is_open = False
        for guest in self.guests():
            send_away(guest)
        with self._changed:
            self._changed.wait_for(lambda: not self._guests, timeout_s)

    def _outlast(self, first: ClientSession, second: ClientSession) -> None:
        """Returns when the first of that name has left. Raises ClusterError when it is heard again.

        A client that was cut off may be back before its silence counts as a loss.
        """
        give_up_at = second.heard + self._takeover_s
        while self._guests.get(first.name) is first and first.heard < second.heard:
            if time.monotonic() > give_up_at:
                first.wire.shut_down()
            self._changed.wait(_LOOK_EVERY_S)
        if first.name in self._guests:
            raise ClusterError(
                f"two clients of a sweep must not have one name. Received: {second}, while {first} "
                "takes part; give each machine a --task or a KERASTUNER_TUNER_ID of its own."
            )


def _difference(everyone: Mapping[str, Mapping[str, Any]]) -> str:
    try:
        return str(difference(everyone) or "")
    except RecursionError:
        raise ProtocolError from None  # Nested so deep as no settings are.
