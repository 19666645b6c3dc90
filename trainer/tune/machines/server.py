"""Which trials are assigned to other machines?

`SweepServer` assigns the trials of a search to its clients. keras-tuner has a gRPC server for this, which
is not used: it has one thread and no authentication, does not notice lost clients, drops errors of its
oracle, and its clients wait up to an hour for it. Here the same calls (create, update and end a trial)
are JSON lines over this project's own connections, within TLS if there is a secret. A client with other
settings is refused, each side notices the loss of the other within seconds, and all waits have deadlines.
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
from strategies.network.connection import JsonConnection, ProtocolError
from strategies.network.handshake import Handshake, Peer
from strategies.network.listener import AuthenticatingListener
from strategies.network.security import Security
from strategies.network.sockets import listen_at
from strategies.rendezvous.mismatch import listed
from trainer.tune.machines.admission import Admission
from trainer.tune.machines.call_queue import HIGH, CallQueue
from trainer.tune.machines.client_session import ClientSession, SearchError
from trainer.tune.machines.role import CLIENT, SERVER
from trainer.tune.search.trial_source import TrialSource

_POLL_INTERVAL_S = 0.1
_CLOSE_TIMEOUT_S = 10.0  # For the clients to learn that the sweep has finished, and to disconnect.


class SweepServer:
    """Assigns the trials of `search` to clients with the same `fingerprint`, and the same secret.

    Args:
      search: the sweep's trials. Only one call at a time is made, always from the same thread.
      address: host:port at which the clients reach the server.
      bind: the host to listen at, if it differs from that of `address`.
      fingerprint: what must be the same on all tasks, as JSON: versions, the sweep's settings.
      security: which clients it trusts, and what it encrypts.
      peer_timeout_s: seconds of silence after which a client is lost.
      print_line: prints a line about the clients. It is called from any thread.
      expected_clients: names of clients that are known to be started. If the sweep finishes before they
        have connected, the server waits for them: they would otherwise fail as they find no server.
      expect_for_s: seconds that it waits for them, from now.
    """

    def __init__(
        self,
        search: TrialSource,
        address: str,
        bind: str,
        fingerprint: Mapping[str, Any],
        security: Security,
        peer_timeout_s: float,
        print_line: Callable[[str], None],
        expected_clients: Collection[str] = (),
        expect_for_s: float = 0.0,
    ):
        self._search = search
        self._expected_clients = expected_clients
        self._expect_until = time.monotonic() + expect_for_s
        self._address, self._bind = address, bind
        self._security = security
        self._peer_timeout_s = peer_timeout_s
        self._print_line = print_line
        self._call_queue = CallQueue()
        self._admission = Admission(fingerprint, self._make_session, peer_timeout_s)
        self._failure: BaseException | None = None
        self._finished_check: Future | None = None
        self._is_finished = self._is_closing = self._reported_missing = False
        self._close_at = math.inf

    def serve(
        self,
        startup_timeout_s: float,
        stop_requested: Callable[[], bool],
        on_poll: Callable[[], None] = lambda: None,
    ) -> None:
        """Returns when the sweep has finished and the clients know, or after a stop was requested.

        Args:
          startup_timeout_s: the longest time without a client while there are trials left.
          stop_requested: whether a stop is requested.
          on_poll: called several times per second.

        Raises:
          ClusterError: the server cannot listen at its address.
          Resumable: there was no client for `startup_timeout_s`, and there are trials left.
          Exception: any error of the search.
        """
        with contextlib.ExitStack() as stack:
            socket = stack.enter_context(self._listen())
            listener = stack.enter_context(AuthenticatingListener(socket, self._handshake()))
            stack.enter_context(self._call_queue)
            stack.callback(self._close)
            self._print_line(
                f"the sweep's server listens at {_local_address(socket)}{self._secret_warning()}"
            )
            self._accept_clients(listener, startup_timeout_s, stop_requested, on_poll)

    def _listen(self):
        port = split_address(self._address)[1]
        if not self._bind:
            fix = "correct it, or set --bind to an address of this machine"
            return listen_at(self._address, "the address of the sweep's server", fix)
        host = f"[{self._bind}]" if ":" in self._bind else self._bind
        try:
            split_address(f"{host}:{port}")
        except ValueError:
            raise ClusterError(
                f"`--bind` must be an address of this machine. Received: {self._bind!r}; "
                "try 0.0.0.0, for all interfaces."
            ) from None
        return listen_at(f"{host}:{port}", "`--bind`", "try --bind=0.0.0.0, for all interfaces")

    def _handshake(self) -> Handshake:
        return Handshake(
            self._security, {"sweep": SERVER}, lambda client: client.get("sweep") == CLIENT
        )

    def _secret_warning(self) -> str:
        if self._security.is_on:
            return ""
        return "; no secret: any process that can reach it can take part (SECURITY.md)"

    def _accept_clients(
        self,
        listener: AuthenticatingListener,
        startup_timeout_s: float,
        stop_requested: Callable[[], bool],
        on_poll: Callable[[], None],
    ) -> None:
        while not stop_requested() and not self._is_done():
            on_poll()
            if caller := listener.next_caller(time.monotonic() + _POLL_INTERVAL_S):
                threading.Thread(target=self._handle_caller, args=(caller,), daemon=True).start()
            self._poll_search()
            if not self._is_finished:
                self._check_has_clients(listener, startup_timeout_s)

    def _poll_search(self) -> None:
        if self._failure:
            raise self._failure
        if self._finished_check and self._finished_check.done():
            self._is_finished, self._finished_check = self._finished_check.result(), None
        # Through the queue, as a busy search would block this thread, which accepts clients.
        if not self._finished_check:
            self._finished_check = self._call_queue.submit(HIGH, lambda: self._search.is_finished)

    def _is_done(self) -> bool:
        """The sweep has finished, and every client knows and has disconnected, or had time to."""
        if not self._is_finished or self._has_missing_clients():
            return False
        sessions = self._admission.sessions()
        if any(session.trials for session in sessions):
            return False
        self._close_at = min(self._close_at, time.monotonic() + _CLOSE_TIMEOUT_S)
        return not sessions or time.monotonic() >= self._close_at

    def _has_missing_clients(self) -> bool:
        """Whether to wait for expected clients that have not connected yet."""
        missing = sorted({*self._expected_clients} - self._admission.seen_names)
        if not missing or time.monotonic() >= self._expect_until:
            return False
        if not self._reported_missing:
            self._reported_missing = True
            self._print_line(
                f"the sweep has finished; waiting for clients that have not connected: {listed(missing)}"
            )
        return True

    def _check_has_clients(
        self, listener: AuthenticatingListener, startup_timeout_s: float
    ) -> None:
        if self._admission.seconds_without_clients() < startup_timeout_s:
            return
        # Any stranger can be rejected, so this is not bad input.
        hosts = sorted(listener.rejected_hosts)
        rejected = f" (rejected: callers from {listed(hosts)}, without its secret)" if hosts else ""
        raise Resumable(
            f"the sweep's server at {self._address} had no client for {startup_timeout_s:g} s"
            f"{rejected}, and there are trials left; start clients, or correct the address they connect "
            "to, and run the same command again to resume."
        )

    def _close(self) -> None:
        self._is_closing = True
        reason = "it failed" if self._failure else "it was stopped"
        self._admission.close(lambda session: session.disconnect(reason), _CLOSE_TIMEOUT_S)

    # In the thread of one client.

    def _handle_caller(self, caller: Peer) -> None:
        channel = caller.link
        try:
            session = self._admission.admit(channel, caller.introduction)
        except (ClusterError, Resumable) as error:
            with contextlib.suppress(OSError):
                self._print_line(f"a client at {channel.host} was refused: {error}")
                channel.send({"refused": str(error), "input": isinstance(error, ClusterError)})
        except (OSError, ProtocolError):
            pass  # The caller is gone, or not a client of a sweep.
        else:
            self._serve_client(session)
        channel.close()

    def _make_session(self, channel: JsonConnection, name: str) -> ClientSession:
        return ClientSession(
            channel, name, self._search, self._call_queue, lambda: self._is_finished
        )

    def _serve_client(self, session: ClientSession) -> None:
        try:
            self._print_line(f"{session} connected")
            loss = session.serve(self._peer_timeout_s)
            session.disconnect(loss)
            trial_ids = session.requeue_trials()
            if not self._is_closing and (loss or not self._is_finished):
                end = f"was lost ({loss})" if loss else "disconnected"
                self._print_line(f"{session} {end}{_requeued(trial_ids)}")
        except SearchError as error:
            self._failure = self._failure or error.__cause__
        except Exception as error:  # `serve` raises it, as this thread has no caller.
            self._failure = self._failure or error
        finally:
            session.disconnect("it failed")
            self._admission.remove(session)


def _requeued(trial_ids: list[str]) -> str:
    if not trial_ids:
        return ""
    if len(trial_ids) == 1:
        return f"; trial {trial_ids[0]} is requeued"
    return f"; trials {listed(trial_ids)} are requeued"


def _local_address(socket) -> str:
    host, port = socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
