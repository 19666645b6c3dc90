"""Which trials do other machines have?

The chief of a sweep holds the search, and hands out its trials to clients. keras-tuner has a server for
that, over gRPC, which is not started: it has one thread and no authentication, does not learn that a
client is gone, drops the errors of its oracle, and its clients wait up to an hour for it. Here the same
calls (create, update and end a trial) go as JSON lines over this project's own connections: both sides
show that they know the secret, clients carry the same settings or are refused, each side notices within
seconds that the other is gone, and every wait has a deadline.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any

from strategies.cluster.spec import split_address
from strategies.errors import ClusterError, Resumable
from strategies.network import shared_secret as secret_lib
from strategies.network.connection import ProtocolError
from strategies.network.handshake import AuthenticatedConnection, AuthenticatingListener
from strategies.network.signed_channel import CHIEF, SignedChannel
from strategies.network.sockets import listen_at
from strategies.rendezvous.mismatch import listed
from trainer.tune.machines.admission import Admission
from trainer.tune.machines.call_queue import AT_ONCE, CallQueue
from trainer.tune.machines.client_session import ClientSession, SearchFailed
from trainer.tune.search.trial_source import TrialSource

_LOOK_EVERY_S = 0.1
_FAREWELL_S = 10.0  # For clients to hear that the sweep is over, and to leave.
_WAY_OUT = "correct it, or say with --bind where to listen"


class SweepServer:
    """Hands out the trials of `search` to whoever has the same `fingerprint` and knows the `secret`.

    Args:
      search: the sweep itself. It is called from one thread, and never twice at a time.
      address: host:port, where the others reach the chief.
      bind: the host on which to listen, if it is not that of `address`.
      fingerprint: what every task must have in common, as JSON: versions, the sweep's settings.
      secret: empty for none.
      peer_timeout_s: seconds of silence after which a client is lost.
      say: tells a person who came and went, line by line, from any thread.
      expected: the clients that are known to be started. One that comes when the sweep is over already
        would wait for its chief, and end as one to be started again: so for them the chief stays.
      expect_for_s: seconds for them to come.
    """

    def __init__(
        self,
        search: TrialSource,
        address: str,
        bind: str,
        fingerprint: Mapping[str, Any],
        secret: bytes,
        peer_timeout_s: float,
        say: Callable[[str], None],
        expected: Collection[str] = (),
        expect_for_s: float = 0.0,
    ):
        self._search = search
        self._expected, self._expect_until = expected, time.monotonic() + expect_for_s
        self._address, self._bind = address, bind
        self._secret = secret
        self._peer_timeout_s = peer_timeout_s
        self._say = say
        self._desk = CallQueue()
        self._door = Admission(fingerprint, self._make_guest, peer_timeout_s)
        self._failure: Exception | None = None
        self._looking: Future | None = None
        self._is_over = self._is_leaving = self._said_late = False
        self._leave_at = math.inf

    def serve(
        self,
        startup_timeout_s: float,
        stop_requested: Callable[[], bool],
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        """Returns when the sweep is over and the clients know, or a stop was asked for.

        `on_look` is called several times a second.

        Raises:
          ClusterError: the address cannot be had, or no caller knew the secret.
          Resumable: trials are left, and for `startup_timeout_s` there was no client.
          Exception: what the search raised.
        """
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(self._listen())
            reception = AuthenticatingListener(listener, self._secret, {"sweep": CHIEF})
            stack.enter_context(reception)
            stack.enter_context(self._desk)
            stack.callback(self._leave)
            self._say(f"the sweep's chief listens at {_where(listener)}{self._warning()}")
            self._receive(reception, startup_timeout_s, stop_requested, on_look)

    def _listen(self):
        port = split_address(self._address)[1]
        if not self._bind:
            return listen_at(self._address, "the address of the sweep's chief", _WAY_OUT)
        host = f"[{self._bind}]" if ":" in self._bind else self._bind
        try:
            split_address(f"{host}:{port}")
        except ValueError:
            raise ClusterError(
                f"`--bind` must be an address of this machine. Received: {self._bind!r}; "
                "try 0.0.0.0, for all of them."
            ) from None
        return listen_at(f"{host}:{port}", "`--bind`", "try --bind=0.0.0.0, for all interfaces")

    def _warning(self) -> str:
        return "" if self._secret else "; no secret: whoever reaches it takes part (SECURITY.md)"

    def _receive(self, reception, startup_timeout_s, stop_requested, on_look) -> None:
        while not stop_requested() and not self._is_done():
            on_look()
            if met := reception.next_caller(time.monotonic() + _LOOK_EVERY_S):
                threading.Thread(target=self._welcome, args=(met,), daemon=True).start()
            self._look_at_search()
            if not self._is_over:
                self._check_alone(reception, startup_timeout_s)

    def _look_at_search(self) -> None:
        if self._failure:
            raise self._failure
        if self._looking and self._looking.done():
            self._is_over, self._looking = self._looking.result(), None
        # At the desk, as a search that thinks would hold up the door.
        self._looking = self._looking or self._desk.submit(AT_ONCE, lambda: self._search.is_over)

    def _is_done(self) -> bool:
        """The sweep is over, and every client came, heard so and left, or had the time to."""
        if not self._is_over or self._expects_more():
            return False
        guests = self._door.guests()
        if any(guest.trials for guest in guests):
            return False
        self._leave_at = min(self._leave_at, time.monotonic() + _FAREWELL_S)
        return not guests or time.monotonic() >= self._leave_at

    def _expects_more(self) -> bool:
        """Whether some that were started are still to hear that the sweep is over."""
        late = sorted({*self._expected} - self._door.heard_of)
        if not late or time.monotonic() >= self._expect_until:
            return False
        if not self._said_late:
            self._said_late = True
            self._say(f"the sweep is over; waiting for {listed(late)} to hear so")
        return True

    def _check_alone(self, reception: AuthenticatingListener, startup_timeout_s: float) -> None:
        if self._door.alone_s() < startup_timeout_s:
            return
        if reception.rejected_hosts and not self._door.was_used:
            raise secret_lib.mismatch_error(
                f"a caller from {listed(sorted(reception.rejected_hosts))} that does not know the secret "
                "of the sweep's chief, and no other client"
            )
        raise Resumable(
            f"the sweep's chief at {self._address} had no client for {startup_timeout_s:g} s, and trials "
            "are left; start clients, or correct the address they call, and run the same command again."
        )

    def _leave(self) -> None:
        self._is_leaving = True
        reason = "it failed" if self._failure else "it was stopped"
        self._door.close(lambda guest: guest.dismiss(reason), _FAREWELL_S)

    # One client's thread.

    def _welcome(self, met: AuthenticatedConnection) -> None:
        wire = SignedChannel(met, CHIEF)
        try:
            guest = self._door.let_in(wire, met.introduction)
        except (ClusterError, Resumable) as error:
            with contextlib.suppress(OSError):
                self._say(f"a client at {wire.host} was refused: {error}")
                wire.send({"refused": str(error), "input": isinstance(error, ClusterError)})
        except (OSError, ProtocolError):
            pass  # It is gone, or never was a client.
        else:
            self._attend(guest)
        wire.close()

    def _make_guest(self, wire: SignedChannel, name: str) -> ClientSession:
        return ClientSession(wire, name, self._search, self._desk, lambda: self._is_over)

    def _attend(self, guest: ClientSession) -> None:
        try:
            self._say(f"{guest} takes part")
            lost = guest.serve(self._peer_timeout_s)
            guest.dismiss(lost)
            left = guest.leave()
            if not self._is_leaving and (lost or not self._is_over):
                how = f"was lost ({lost})" if lost else "left"
                self._say(f"{guest} {how}{_given_back(left)}")
        except SearchFailed as failed:
            self._failure = self._failure or failed.__cause__
        except Exception as fault:  # In this thread nobody would hear of it.
            self._failure = self._failure or fault
        finally:
            guest.dismiss("it failed")
            self._door.leave(guest)


def _given_back(trials: list[str]) -> str:
    if not trials:
        return ""
    if len(trials) == 1:
        return f"; trial {trials[0]} goes to another"
    return f"; trials {listed(trials)} go to others"


def _where(listener) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
