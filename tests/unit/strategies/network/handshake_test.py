"""Does a handshake let in who knows the key, and nobody else?"""

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
def _reception(key: bytes = KEY, **options):
    """A reception, its address, and what it lets in, as a future, while it runs."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        AuthenticatingListener(listener, key, {"I am": "called"}, **options) as reception,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        yield listener.getsockname(), pool.submit(reception.next_caller, _soon())


def _link(address) -> JsonConnection:
    return JsonConnection(socket.create_connection(address, 10))


@pytest.mark.parametrize("key", [KEY, b""])
def test_both_sides_hear_what_the_other_says_and_then_go_on(key):
    with _reception(key) as (address, admitted):
        caller = call(_link(address), key, {"I am": "caller"}, _soon())
        called = admitted.result(PATIENCE_S)
        assert (caller.said, called.said) == ({"I am": "called"}, {"I am": "caller"})
        caller.send({"a": [1, None, "\u00fc"]})
        assert called.receive(_soon()) == {"a": [1, None, "\u00fc"]}
        for link in (caller.link, called.link):
            link.close()


@pytest.mark.parametrize("key", [OTHER, b""])
def test_who_does_not_know_the_key_is_told_nothing_but_that(key):
    with _reception() as (address, admitted):
        stranger = _link(address)
        with pytest.raises(AuthenticationError):
            call(stranger, key, {"I am": "caller"}, _soon())
        stranger.close()
        friend = call(_link(address), KEY, {"I am": "friend"}, _soon())
        assert admitted.result(PATIENCE_S).said == {"I am": "friend"}
        for link in (friend.link, admitted.result().link):
            link.close()


def test_a_called_that_does_not_know_the_key_is_an_imposter():
    def pretend(listener):
        connection, _ = listener.accept()
        link = JsonConnection(connection)
        link.send({"muster": "hello", "nonce": link.receive(_soon())["nonce"]})
        heard = link.receive(_soon())  # A caller's own words, thrown back at it.
        link.send(heard)
        assert link.is_readable(PATIENCE_S)  # The caller has hung up.
        link.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        pretending = threading.Thread(target=pretend, args=(listener,), daemon=True)
        pretending.start()
        link = _link(listener.getsockname())
        with pytest.raises(AuthenticationError):
            call(link, KEY, {"I am": "caller"}, _soon())
        link.close()
        pretending.join(PATIENCE_S)


def test_what_was_heard_on_the_wire_cannot_be_said_again():
    heard = []

    class Overheard(JsonConnection):
        def send(self, message):
            heard.append(message)
            super().send(message)

    with _reception() as (address, admitted):
        caller = call(
            Overheard(socket.create_connection(address, 10)), KEY, {"I am": "caller"}, _soon()
        )
        caller.send({"verdict": "go"})
        for link in (caller.link, admitted.result(PATIENCE_S).link):
            link.close()
    hello, says, _ = heard
    with _reception() as (address, admitted):
        replayed = _link(address)
        replayed.send(hello)
        assert replayed.receive(_soon())["muster"] == "hello"
        replayed.send(says)
        assert replayed.receive(_soon()) == {"muster": "refused"}
        replayed.close()
        assert not admitted.done()
        friend = call(_link(address), KEY, {}, _soon())
        friend.link.send(heard[2])  # Not signed for this connection.
        with pytest.raises(AuthenticationError):
            admitted.result(PATIENCE_S).receive(_soon())
        for link in (friend.link, admitted.result().link):
            link.close()


def test_what_follows_a_handshake_stays_unread():
    with _reception(at_a_time=1) as (address, admitted):
        caller = call(_link(address), KEY, {}, _soon())
        connection = caller.link.detach()
        connection.sendall(b"the rest")
        called = admitted.result(PATIENCE_S).link.detach()
        assert called.recv(100) == b"the rest"
        connection.close()
        called.close()
