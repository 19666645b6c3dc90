"""How does a machine get its trials from the chief?

Calls go over one connection, and beats in between. When the chief is lost, which a closed connection or
its silence shows, so is the sweep until somebody starts it again: every call says so.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from strategies.errors import ClusterError, Resumable
from strategies.network import shared_secret as secret_lib
from strategies.network.connection import JsonConnection, Message, ProtocolError
from strategies.network.handshake import AuthenticationError, call, reason
from strategies.network.signed_channel import CHIEF, CLIENT, SignedChannel
from strategies.network.sockets import connect
from strategies.rendezvous.mismatch import plain
from trainer.tune.machines import messages
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec

_BEAT_EVERY_S = 1.0
_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 10.0
_RETRY_EVERY_S = 0.2
_FAREWELL_S = 5.0


class Client:
    """A `TrialSource` on another machine. Making one connects; it is a context manager, or has `close`.

    Args:
      name: by which the chief knows this machine.
      address: host:port of the chief.
      fingerprint: what must be as it is there, as JSON.
      secret: empty for none.
      startup_timeout_s: for the chief to be there.
      peer_timeout_s: for it to answer a call, or a beat.
      on_lost: told, once and from any thread, what every call raises when the chief is lost.

    Raises:
      ClusterError: the chief refuses this client, or one of the two does not know the secret.
      Resumable: the chief was not there in time.
    """

    def __init__(
        self,
        name: str,
        address: str,
        fingerprint: Mapping[str, Any],
        secret: bytes,
        startup_timeout_s: float,
        peer_timeout_s: float,
        on_lost: Callable[[Resumable], None] = lambda loss: None,
    ):
        self.is_over = False
        self._name, self._address, self._secret = name, address, secret
        self._says = {"sweep": CLIENT, "name": name, "fingerprint": plain(fingerprint)}
        self._peer_timeout_s = peer_timeout_s
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._awaited: dict[int, Future] = {}
        self._calls = 0
        self._loss: Resumable | None = None
        self._is_closing = False
        self._wire = self._connect(startup_timeout_s)
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def ask(self, runner: str) -> TrialSpec | None:
        if self.is_over:
            return None
        said = self._call("ask", runner=runner).get("assignment")
        try:
            return None if said is None else messages.assignment(said)
        except ProtocolError:
            raise self._lose("it sent what is no trial") from None

    def note(self, trial_id: str, progress: Progress) -> bool:
        said = self._call("note", trial=trial_id, progress=messages.spelled(progress))
        return said.get("stop") is True

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        self._call("tell", trial=trial_id, outcome=messages.spelled(outcome))

    def give_back(self, trial_id: str, seconds: float) -> None:
        self._call("give_back", trial=trial_id, seconds=seconds)

    def close(self) -> None:
        """Takes leave of the chief, which gives what is still this client's to another."""
        self._is_closing = True
        try:
            self._wire.send({"bye": True})
        except OSError:
            pass  # It was faster.
        self._wire.shut_down()
        self._thread.join(_FAREWELL_S)
        self._wire.close()

    # Until the chief has let this client in.

    def _connect(self, timeout_s: float) -> SignedChannel:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._call_once(min(deadline, time.monotonic() + _ANSWER_TIMEOUT_S))
            except AuthenticationError:
                raise secret_lib.mismatch_error(
                    f"none that client {self._name} shares with the sweep's chief at {self._address}"
                ) from None
            except (OSError, EOFError, ProtocolError, UnicodeError) as error:
                why = reason(error)
            if time.monotonic() + _RETRY_EVERY_S > deadline:
                raise Resumable(
                    f"the sweep's chief at {self._address} did not answer within {timeout_s:g} s "
                    f"({why}); start it, or correct that address, and run again."
                )
            time.sleep(_RETRY_EVERY_S)

    def _call_once(self, deadline: float) -> SignedChannel:
        link = JsonConnection(connect(self._address, _CONNECT_TIMEOUT_S))
        try:
            met = call(link, self._secret, self._says, deadline)
            if met.introduction.get("sweep") != CHIEF:
                raise ProtocolError
            wire = SignedChannel(met, CLIENT)
            self._hear_verdict(wire.receive(deadline))
            return wire
        except BaseException:
            link.close()
            raise

    def _hear_verdict(self, verdict: Message) -> None:
        if "refused" in verdict:
            kind = ClusterError if verdict.get("input") is True else Resumable
            raise kind(messages.line(verdict["refused"]))
        if "welcome" not in verdict:
            raise ProtocolError
        self.is_over = verdict.get("over") is True

    # From then on.

    def _call(self, name: str, **arguments: Any) -> Message:
        number, answer = self._send(name, arguments)
        try:
            return answer.result(self._peer_timeout_s)
        except NotYet:
            raise self._lose(f"no answer within {self._peer_timeout_s:g} s") from None
        finally:
            with self._lock:
                self._awaited.pop(number, None)

    def _send(self, name: str, arguments: Mapping[str, Any]) -> tuple[int, Future]:
        answer: Future = Future()
        with self._lock:
            if self._loss:
                raise self._loss
            number, self._calls = self._calls, self._calls + 1
            self._awaited[number] = answer
        try:
            self._wire.send({"call": name, "number": number, **arguments})
        except TimeoutError:
            raise self._lose("it takes nothing") from None
        except OSError:
            pass  # The connection closed. Whoever reads it hears why, where the chief has said so.
        return number, answer

    def _run(self) -> None:
        try:
            self._listen()
        except TimeoutError:
            self._lose(f"not heard from for {self._peer_timeout_s:g} s")
        except ProtocolError:
            self._lose("it sent what no chief sends")
        except (EOFError, OSError):
            self._lose("its connection closed")
        except Resumable:
            pass  # Another thread noticed first.

    def _listen(self) -> None:
        """Reads and beats until the connection ends. Raises TimeoutError for a chief that is silent."""
        beat_every_s = min(_BEAT_EVERY_S, self._peer_timeout_s / 3)
        beat_at = time.monotonic()
        silent_at = math.inf
        while True:
            try:
                self._hear(self._wire.receive(min(beat_at, silent_at)))
                silent_at = math.inf
            except TimeoutError:
                if time.monotonic() >= silent_at:
                    raise
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + beat_every_s
                # From the beat that stays unanswered: before it this process may have been stopped.
                silent_at = min(silent_at, time.monotonic() + self._peer_timeout_s)
                self._send("beat", {})

    def _hear(self, message: Message) -> None:
        self.is_over = self.is_over or message.get("over") is True
        if "bye" in message:
            self._lose(messages.line(message["bye"]))
            raise EOFError
        number = message.get("number")
        with self._lock:
            answer = self._awaited.pop(number, None) if type(number) is int else None
        if answer:
            answer.set_result(message)

    def _lose(self, why: str) -> Resumable:
        """The error for a chief that is lost; the first reason counts."""
        with self._lock:
            if self._loss:
                return self._loss
            self._loss = loss = Resumable(
                f"the sweep's chief at {self._address} was lost ({why}); run the same command again to "
                "go on."
            )
            awaited, self._awaited = self._awaited, {}
        self._wire.shut_down()
        for answer in awaited.values():
            answer.set_exception(loss)
        if not (self._is_closing or self.is_over):
            self._on_lost(loss)
        return loss
