"""Does the handshake accept only callers that know the key?"""

import concurrent.futures
import contextlib
import socket
import threading
import time

import pytest

from strategies.network.connection import JsonConnection
from strategies.network.handshake import AuthenticatingListener, AuthenticationError, call

KEY, OTHER = b"a key of many bytes", b"another key of many bytes"
PATIENCE_S = 20.0


def _soon() -> float:
    return time.monotonic() + PATIENCE_S


@contextlib.contextmanager
def _listening(key: bytes = KEY, **options):
    """The address of an `AuthenticatingListener`, and its next caller as a future, while it runs."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        AuthenticatingListener(listener, key, {"name": "listener"}, **options) as accepting,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        yield listener.getsockname(), pool.submit(accepting.next_caller, _soon())


def _link(address) -> JsonConnection:
    return JsonConnection(socket.create_connection(address, 10))


@pytest.mark.parametrize("key", [KEY, b""])
def test_both_sides_receive_the_others_introduction_and_then_messages(key):
    with _listening(key) as (address, accepted):
        caller = call(_link(address), key, {"name": "caller"}, _soon())
        callee = accepted.result(PATIENCE_S)
        assert (caller.introduction, callee.introduction) == (
            {"name": "listener"},
            {"name": "caller"},
        )
        caller.send({"a": [1, None, "\u00fc"]})
        assert callee.receive(_soon()) == {"a": [1, None, "\u00fc"]}
        for link in (caller.link, callee.link):
            link.close()


@pytest.mark.parametrize("key", [OTHER, b""])
def test_a_caller_without_the_key_learns_only_that_it_is_rejected(key):
    with _listening() as (address, accepted):
        stranger = _link(address)
        with pytest.raises(AuthenticationError):
            call(stranger, key, {"name": "caller"}, _soon())
        stranger.close()
        friend = call(_link(address), KEY, {"name": "friend"}, _soon())
        assert accepted.result(PATIENCE_S).introduction == {"name": "friend"}
        for link in (friend.link, accepted.result().link):
            link.close()


def test_a_listener_without_the_key_is_an_authentication_error():
    def pretend(listener):
        connection, _ = listener.accept()
        link = JsonConnection(connection)
        link.send({"muster": "hello", "nonce": link.receive(_soon())["nonce"]})
        link.send(link.receive(_soon()))  # The caller's own introduction and proof.
        assert link.is_readable(PATIENCE_S)  # The caller has disconnected.
        link.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        pretending = threading.Thread(target=pretend, args=(listener,), daemon=True)
        pretending.start()
        link = _link(listener.getsockname())
        with pytest.raises(AuthenticationError):
            call(link, KEY, {"name": "caller"}, _soon())
        link.close()
        pretending.join(PATIENCE_S)


def test_recorded_messages_cannot_be_replayed():
    recorded = []

    class Recording(JsonConnection):
        def send(self, message):
            recorded.append(message)
            super().send(message)

    with _listening() as (address, accepted):
        caller = call(
            Recording(socket.create_connection(address, 10)), KEY, {"name": "caller"}, _soon()
        )
        caller.send({"verdict": "go"})
        for link in (caller.link, accepted.result(PATIENCE_S).link):
            link.close()
    hello, introduction, later = recorded
    with _listening() as (address, accepted):
        replayed = _link(address)
        replayed.send(hello)
        assert replayed.receive(_soon())["muster"] == "hello"
        replayed.send(introduction)
        assert replayed.receive(_soon()) == {"muster": "refused"}
        replayed.close()
        assert not accepted.done()
        friend = call(_link(address), KEY, {}, _soon())
        friend.link.send(later)  # Its proof is for another connection.
        with pytest.raises(AuthenticationError):
            accepted.result(PATIENCE_S).receive(_soon())
        for link in (friend.link, accepted.result().link):
            link.close()


def test_what_follows_a_handshake_stays_unread():
    with _listening(recv_bytes=1) as (address, accepted):
        caller = call(_link(address), KEY, {}, _soon())
        connection = caller.link.detach()
        connection.sendall(b"the rest")
        callee = accepted.result(PATIENCE_S).link.detach()
        assert callee.recv(100) == b"the rest"
        connection.close()
        callee.close()
