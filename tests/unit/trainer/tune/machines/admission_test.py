"""Are only clients with the server's secret and settings admitted, one per name?"""

import itertools
import os
import signal
import time
from types import SimpleNamespace

import pytest

from strategies.errors import ClusterError, Resumable
from strategies.network import security
from tests.unit.trainer.tune.machines.harness import (
    PLAIN,
    SECRET,
    TIMEOUT_S,
    FakeSearch,
    run_all,
)
from trainer.tune.machines import admission


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


@pytest.mark.parametrize("other", [security.from_secret(b"another key of many bytes"), PLAIN])
def test_a_client_without_the_secret_is_refused(start_server, other):
    server = start_server(FakeSearch(1), SECRET)
    with pytest.raises(ClusterError) as caught:
        server.client(secured=other)
    why = "it does not know the secret" if other.is_on else "it requires a secret or certificates"
    assert str(caught.value) == (
        "`--secret_file` must hold the same secret on every task. Received: different ones on client a "
        f"and on the sweep's server at {server.address} ({why}); give every task the same file, or the "
        "same MUSTER_SECRET."
    )
    with server.client(secured=SECRET) as client:
        run_all(client)
    server.result.result(TIMEOUT_S)


def test_a_server_that_only_rejected_callers_reach_is_to_be_started_again(start_server, idle_clock):
    server = start_server(FakeSearch(1), SECRET, startup_timeout_s=0.5)
    with pytest.raises(ClusterError):
        server.client()
    idle_clock.now += 0.5
    error = server.result.exception(TIMEOUT_S)
    assert type(error) is Resumable  # Anyone could make it bad input otherwise.
    assert str(error).startswith(
        f"the sweep's server at {server.address} had no client for 0.5 s (rejected: callers from "
        "127.0.0.1, without its secret), and there are trials left; start clients"
    )


def test_of_two_clients_with_the_same_name_the_second_is_refused(start_server):
    server = start_server(FakeSearch(1))
    with server.client() as client:
        with pytest.raises(ClusterError) as caught:
            server.client()
        assert str(caught.value) == (
            "two clients of a sweep must not have the same name. Received: client a at 127.0.0.1, while "
            "client a at 127.0.0.1 is connected; give each machine its own --task or KERASTUNER_TUNER_ID."
        )
        run_all(client)


def test_time_in_which_the_server_was_suspended_is_no_silence_of_its_client(
    start_server, monkeypatch
):
    server = start_server(FakeSearch(1))
    with server.client():
        suspended_s = itertools.chain([0.0], itertools.repeat(100.0))
        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + next(suspended_s))
        monkeypatch.setattr(admission, "time", clock)
        with pytest.raises(ClusterError, match="must not have the same name"):
            server.client()


def test_a_silent_client_is_replaced_by_a_new_one_of_the_same_name(
    start_server, start_client_process
):
    server = start_server(FakeSearch(1), peer_timeout_s=2.0)
    process, _ = start_client_process(server, "a")
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
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
