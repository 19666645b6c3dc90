"""How does a machine get its trials from the sweep's server?

`Client` makes the calls over one connection, with heartbeats in between. The server is lost if the
connection closes or the server is silent. Then every call raises Resumable.
"""

import concurrent.futures
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from strategies.errors import ClusterError, Resumable
from strategies.network.connection import (
    AuthenticationError,
    JsonConnection,
    Message,
    ProtocolError,
)
from strategies.network.handshake import Handshake, reason
from strategies.network.security import Security
from strategies.network.sockets import connect
from strategies.rendezvous.mismatch import plain
from trainer.tune.machines import messages
from trainer.tune.machines.role import CLIENT, SERVER
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec

_HEARTBEAT_INTERVAL_S = 1.0
_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 10.0
_RETRY_INTERVAL_S = 0.2
_CLOSE_TIMEOUT_S = 5.0


class Client:
    """A `TrialSource` on another machine. It connects when it is made. A context manager.

    Args:
      name: identifies this machine on the server.
      address: host:port of the server.
      fingerprint: what must be the same on the server, as JSON.
      security: which server it trusts, and what it encrypts.
      startup_timeout_s: seconds within which the server must be reached.
      peer_timeout_s: seconds within which it must answer a call or a heartbeat.
      on_lost: called once, from any thread, with the error that every call raises once the server is
        lost.

    Raises:
      ClusterError: the server refuses this client, or the two do not share the secret.
      Resumable: the server was not reached in time.
    """

    def __init__(
        self,
        name: str,
        address: str,
        fingerprint: Mapping[str, Any],
        security: Security,
        startup_timeout_s: float,
        peer_timeout_s: float,
        on_lost: Callable[[Resumable], None] = lambda loss: None,
    ):
        self.is_finished = False
        self._name, self._address = name, address
        self._handshake = Handshake(
            security,
            {"sweep": CLIENT, "name": name, "fingerprint": plain(fingerprint)},
            lambda server: server.get("sweep") == SERVER,
        )
        self._peer_timeout_s = peer_timeout_s
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._pending: dict[int, Future] = {}  # By the numbers of the calls.
        self._num_calls = 0
        self._loss: Resumable | None = None
        self._is_closing = False
        self._channel = self._connect(startup_timeout_s)
        self._thread = threading.Thread(target=self._run, name="sweep-client", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def ask(self, runner: str) -> TrialSpec | None:
        if self.is_finished:
            return None
        received = self._call("ask", runner=runner).get("trial")
        try:
            return None if received is None else messages.parse_trial_spec(received)
        except ProtocolError:
            raise self._mark_lost("it sent an invalid trial") from None

    def report(self, trial_id: str, progress: Progress) -> bool:
        answer = self._call("report", trial=trial_id, progress=messages.to_json(progress))
        return answer.get("stop") is True

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        self._call("tell", trial=trial_id, outcome=messages.to_json(outcome))

    def requeue(self, trial_id: str, seconds: float) -> None:
        self._call("requeue", trial=trial_id, seconds=seconds)

    def close(self) -> None:
        """Disconnects. The server requeues the trials that this client still has."""
        self._is_closing = True
        try:
            self._channel.send({"bye": True})
        except OSError:
            pass  # The server has closed the connection already.
        self._channel.shut_down()
        self._thread.join(_CLOSE_TIMEOUT_S)
        self._channel.close()

    # Connecting.

    def _connect(self, timeout_s: float) -> JsonConnection:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._connect_once(min(deadline, time.monotonic() + _ANSWER_TIMEOUT_S))
            except AuthenticationError as error:
                raise self._handshake.security.mismatch_error(
                    f"different ones on client {self._name} and on the sweep's server at "
                    f"{self._address} ({error})"
                ) from None
            except (OSError, EOFError, ProtocolError, UnicodeError) as error:
                why = reason(error)
            if time.monotonic() + _RETRY_INTERVAL_S > deadline:
                raise Resumable(
                    f"no answer within {timeout_s:g} s from the sweep's server at {self._address} "
                    f"({why}); start it, or correct its address, and run the same command again."
                )
            time.sleep(_RETRY_INTERVAL_S)

    def _connect_once(self, deadline: float) -> JsonConnection:
        channel = self._handshake.call(connect(self._address, _CONNECT_TIMEOUT_S), deadline).link
        try:
            self._check_admitted(channel.receive(deadline))
        except BaseException:
            channel.close()
            raise
        return channel

    def _check_admitted(self, answer: Message) -> None:
        if "refused" in answer:
            kind = ClusterError if answer.get("input") is True else Resumable
            raise kind(messages.parse_line(answer["refused"]))
        if "welcome" not in answer:
            raise ProtocolError
        self.is_finished = answer.get("over") is True

    # Calling.

    def _call(self, name: str, **arguments: Any) -> Message:
        number, answer = self._send(name, arguments)
        try:
            return answer.result(self._peer_timeout_s)
        except concurrent.futures.TimeoutError:
            raise self._mark_lost(f"no answer within {self._peer_timeout_s:g} s") from None
        finally:
            with self._lock:
                self._pending.pop(number, None)

    def _send(self, name: str, arguments: Mapping[str, Any]) -> tuple[int, Future]:
        answer: Future = Future()
        with self._lock:
            if self._loss:
                raise self._loss
            number, self._num_calls = self._num_calls, self._num_calls + 1
            self._pending[number] = answer
        try:
            self._channel.send({"call": name, "number": number, **arguments})
        except TimeoutError:
            raise self._mark_lost("sending to it timed out") from None
        except OSError:
            pass  # The connection is closed. The receiving thread gets the reason, if there is one.
        return number, answer

    def _run(self) -> None:
        try:
            self._receive_all()
        except TimeoutError:
            self._mark_lost(f"not heard from for {self._peer_timeout_s:g} s")
        except ProtocolError:
            self._mark_lost("it sent an invalid message")
        except (EOFError, OSError):
            self._mark_lost("its connection closed")
        except Resumable:
            pass  # Another thread noticed the loss first.

    def _receive_all(self) -> None:
        """Receives messages and sends heartbeats. Raises TimeoutError if the server is silent."""
        interval_s = min(_HEARTBEAT_INTERVAL_S, self._peer_timeout_s / 3)
        heartbeat_at = time.monotonic()
        lost_at = math.inf
        while True:
            try:
                self._handle(self._channel.receive(min(heartbeat_at, lost_at)))
                lost_at = math.inf
            except TimeoutError:
                if time.monotonic() >= lost_at:
                    raise
            if time.monotonic() >= heartbeat_at:
                heartbeat_at = time.monotonic() + interval_s
                # Counted from an unanswered heartbeat, as this process may have been stopped before.
                lost_at = min(lost_at, time.monotonic() + self._peer_timeout_s)
                self._send("heartbeat", {})

    def _handle(self, message: Message) -> None:
        self.is_finished = self.is_finished or message.get("over") is True
        if "bye" in message:
            self._mark_lost(messages.parse_line(message["bye"]))
            raise EOFError
        number = message.get("number")
        with self._lock:
            answer = self._pending.pop(number, None) if type(number) is int else None
        if answer:
            answer.set_result(message)

    def _mark_lost(self, why: str) -> Resumable:
        """The error of every call from now on. The first reason is kept."""
        with self._lock:
            if self._loss:
                return self._loss
            self._loss = loss = Resumable(
                f"the sweep's server at {self._address} was lost ({why}); run the same command again to "
                "resume."
            )
            pending, self._pending = self._pending, {}
        self._channel.shut_down()
        for answer in pending.values():
            answer.set_exception(loss)
        if not (self._is_closing or self.is_finished):
            self._on_lost(loss)
        return loss
