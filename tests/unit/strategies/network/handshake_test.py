"""Does the handshake accept only peers with the same secret, or a certificate of the same authority?"""

import concurrent.futures
import contextlib
import dataclasses
import socket
import ssl
import threading
import time

import pytest

from strategies.network.connection import AuthenticationError, ProtocolError
from strategies.network.handshake import Handshake
from strategies.network.listener import AuthenticatingListener
from strategies.network.security import PLAIN, from_files, from_secret
from tests.unit.strategies.network.authority import Authority
from tests.unit.strategies.rendezvous.tasks import await_true

KEY, OTHER = from_secret(b"a key of many bytes"), from_secret(b"another key of many bytes")
PATIENCE_S = 60.0


def _soon() -> float:
    return time.monotonic() + PATIENCE_S


def _by(who: str, security, **options) -> Handshake:
    return Handshake(security, {"name": who}, lambda peer: "name" in peer, **options)


@contextlib.contextmanager
def _listening(security=KEY, **options):
    """A listener, its address, and its next caller as a future, while it runs."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        AuthenticatingListener(listener, _by("listener", security, **options)) as accepting,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        yield accepting, listener.getsockname(), pool.submit(accepting.next_caller, _soon())


def _call(address, security, who="caller", **options):
    connection = socket.create_connection(address, PATIENCE_S)
    return _by(who, security, **options).call(connection, _soon())


@pytest.mark.parametrize("security", [KEY, PLAIN], ids=["tls", "plain"])
@pytest.mark.parametrize("recv_bytes", [1, 1 << 16])
def test_both_sides_receive_the_others_introduction_and_then_messages(
    security, recv_bytes, monkeypatch
):
    monkeypatch.setattr("strategies.network.connection._SEND_TIMEOUT_S", PATIENCE_S)
    with _listening(security, recv_bytes=recv_bytes) as (_, address, accepted):
        caller = _call(address, security, recv_bytes=recv_bytes)
        callee = accepted.result(PATIENCE_S)
        assert caller.introduction == {"name": "listener"}
        assert callee.introduction == {"name": "caller"}
        large = {"a": [1, None, "\u00fc" * min(100_000, 3000 * recv_bytes)]}
        for sender, receiver in ((caller, callee), (callee, caller)):
            for message in (large, {}, large):
                sending = threading.Thread(target=sender.link.send, args=(message,))
                sending.start()
                assert receiver.link.receive(_soon()) == message
                sending.join(PATIENCE_S)
        assert not caller.link.is_readable()  # No ticket of TLS, which would look like an end.
        for peer in (caller, callee):
            peer.link.close()


@pytest.mark.parametrize(
    "mine, theirs, why",
    [
        (KEY, OTHER, "it does not know the secret"),
        (KEY, PLAIN, "it requires a secret or certificates"),
        (PLAIN, KEY, "it does not know the secret"),
    ],
    ids=["another", "only here", "only there"],
)
def test_a_caller_without_the_same_secret_is_rejected_and_delays_nobody(mine, theirs, why):
    with _listening(mine) as (listener, address, accepted):
        with pytest.raises(AuthenticationError, match=why):
            _call(address, theirs)
        friend = _call(address, mine, "friend")
        assert accepted.result(PATIENCE_S).introduction == {"name": "friend"}
        assert listener.rejected_hosts == {"127.0.0.1"}
        for peer in (friend, accepted.result()):
            peer.link.close()


def test_a_rejected_caller_of_the_listeners_name_is_known_from_other_strangers():
    for security in (OTHER, PLAIN):
        with _listening(KEY, name="c0ffee") as (listener, address, accepted):
            for name, expected in (("other", set()), ("c0ffee", {"127.0.0.1"})):
                with pytest.raises(AuthenticationError):
                    _call(address, security, name=name)
                # Whose name it called is known before its host.
                await_true(lambda to=expected: to <= listener.rejected_by_name)
                await_true(lambda: listener.rejected_hosts)
                assert listener.rejected_by_name == expected
            _call(address, KEY).link.close()
            accepted.result(PATIENCE_S).link.close()


@contextlib.contextmanager
def _impostor(act):
    """The address of a listener that treats its one caller by `act(connection)`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.settimeout(PATIENCE_S)
                act(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()
        thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError),
        (b'{"muster": "refused"}\n', AuthenticationError),
        (b"", (EOFError, OSError)),
    ],
    ids=["another program", "no secret", "closed"],
)
def test_another_program_in_place_of_a_listener_is_known_as_such(answer, error):
    def act(connection):
        connection.recv(1 << 16)
        connection.sendall(answer)

    with _impostor(act) as address, pytest.raises(error) as caught:
        _call(address, KEY)
    assert isinstance(caught.value, AuthenticationError) == (error is AuthenticationError)


def test_a_silent_listener_costs_no_more_than_the_deadline():
    with _impostor(lambda connection: connection.recv(1 << 16) and connection.recv(1)) as address:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            _by("caller", KEY).call(socket.create_connection(address), began + 0.3)
        assert time.monotonic() - began < PATIENCE_S  # For as long it would be silent.


def test_a_forged_certificate_of_the_same_name_is_refused():
    # The server trusts nobody in particular, and presents a certificate that names the same issuer.
    forging = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    forging.check_hostname, forging.verify_mode = False, ssl.CERT_NONE
    assert OTHER.client
    OTHER.client.verify_mode, before = ssl.CERT_NONE, OTHER.client.verify_mode
    try:
        for client in (forging, OTHER.client):
            with _listening(KEY) as (listener, address, accepted):
                with pytest.raises((EOFError, OSError, AuthenticationError)):
                    _call(address, dataclasses.replace(OTHER, client=client))
                _call(address, KEY).link.close()
                accepted.result(PATIENCE_S).link.close()
                assert listener.rejected_hosts == {"127.0.0.1"}
    finally:
        OTHER.client.verify_mode = before


def test_tls_1_2_is_not_spoken():
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with _listening(KEY) as (_, address, accepted):
        with socket.create_connection(address) as raw, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(raw)
        _call(address, KEY).link.close()
        accepted.result(PATIENCE_S).link.close()


def test_of_two_authorities_each_accepts_its_own_certificates_only(tmp_path):
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    first, second = (from_files(*ours.files(name)) for name in ("first", "second"))
    stranger = from_files(*others.files("stranger"))
    trusting = from_files(*others.files("trusting"))
    assert trusting.client
    trusting.client.load_verify_locations(ours.ca)
    with _listening(first) as (_, address, accepted):
        with pytest.raises(AuthenticationError, match="its certificate is refused: "):
            _call(address, stranger)
        with pytest.raises(AuthenticationError, match="it does not trust this task"):
            _call(address, trusting)  # It learns so after its own side of the handshake.
        with pytest.raises(AuthenticationError, match="it does not know the secret"):
            _call(address, KEY)
        friend = _call(address, second)
        for peer in (friend, accepted.result(PATIENCE_S)):
            peer.link.close()
