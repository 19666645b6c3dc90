"""Are only clients with the server's secret and settings admitted, one per name?"""

import signal

import pytest

from strategies.errors import ClusterError
from strategies.network.connection import JsonConnection
from tests.unit.trainer.tune.machines.harness import (
    SECRET,
    TIMEOUT_S,
    FakeSearch,
    deadline,
    run_all,
)


def test_settings_that_differ_are_named_on_both_sides(start_server):
    server = start_server(FakeSearch(1))
    line = (
        "`config.data.global_batch_size` must be the same on every task. Received: 64 on the server, 128 "
        "on client a (and `tuner` differ too); give every task the same flags and packages."
    )
    with pytest.raises(ClusterError) as caught:
        server.client(settings={"config": {"data.global_batch_size": 128}, "tuner": "grid"})
    assert str(caught.value) == line
    assert server.await_line("refused") == f"a client at 127.0.0.1 was refused: {line}"
    with server.client() as client:
        run_all(client)


@pytest.mark.parametrize("secret", [b"another key of many bytes", b""])
def test_a_client_without_the_secret_is_refused(start_server, secret):
    server = start_server(FakeSearch(1), SECRET)
    with pytest.raises(ClusterError) as caught:
        server.client(secret=secret)
    assert str(caught.value) == (
        "`--secret_file` must hold the same secret on every task. Received: different ones on client a "
        f"and on the sweep's server at {server.address}; give every task the same file, or the same "
        "MUSTER_SECRET."
    )
    with server.client(secret=SECRET) as client:
        run_all(client)
    server.result.result(TIMEOUT_S)


def test_a_server_that_only_clients_without_the_secret_call_reports_it(start_server):
    server = start_server(FakeSearch(1), SECRET, startup_timeout_s=0.5)
    with pytest.raises(ClusterError):
        server.client()
    assert str(server.result.exception(TIMEOUT_S)) == (
        "`--secret_file` must hold the same secret on every task. Received: a caller from 127.0.0.1 that "
        "does not know the secret of the sweep's server, and no other client; give every task the same "
        "file, or the same MUSTER_SECRET."
    )


def test_of_two_clients_with_the_same_name_the_second_is_refused(start_server):
    server = start_server(FakeSearch(1), peer_timeout_s=3.0)
    with server.client(peer_timeout_s=3.0) as client:
        with pytest.raises(ClusterError) as caught:
            server.client()
        assert str(caught.value) == (
            "two clients of a sweep must not have the same name. Received: client a at 127.0.0.1, while "
            "client a at 127.0.0.1 is connected; give each machine its own --task or KERASTUNER_TUNER_ID."
        )
        run_all(client)


def test_a_silent_client_is_replaced_by_a_new_one_of_the_same_name(
    start_server, start_client_process
):
    server = start_server(FakeSearch(1), peer_timeout_s=2.0)
    process, _ = start_client_process(server, "a")
    process.send_signal(signal.SIGSTOP)
    with server.client() as client:
        assert server.await_line("lost").endswith("; trial 0000 is requeued")
        run_all(client)
    server.result.result(TIMEOUT_S)


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"[" * 100_000 + b"\n"])
def test_a_caller_that_is_not_a_client_delays_nobody(start_server, data):
    server = start_server(FakeSearch(1))
    with server.connect() as caller, server.client() as client:
        caller.sendall(data)
        run_all(client)
    server.result.result(TIMEOUT_S)


class RecordingConnection(JsonConnection):
    def __init__(self, connection):
        super().__init__(connection)
        self.sent = []

    def send(self, message):
        self.sent.append(message)
        super().send(message)


def test_a_recorded_message_cannot_be_replayed_on_its_connection(start_server):
    server = start_server(FakeSearch(2), SECRET)
    connection = RecordingConnection(server.connect())
    channel = server.admitted_channel(SECRET, connection)
    channel.send({"call": "ask", "number": 0, "runner": "0"})
    channel.receive(deadline())
    connection.send(connection.sent[-1])
    assert server.await_line("lost") == (
        "client a at 127.0.0.1 was lost (it sent a message with an invalid signature); trial 0000 is "
        "requeued"
    )
    channel.close()
