"""Does a sweep's server keep every trial, whatever happens to its clients?"""

import concurrent.futures
import contextlib
import queue
import signal
import time

import pytest

from strategies.errors import ClusterError, Resumable
from tests.unit.trainer.tune.machines.harness import (
    OUTCOME,
    PLAIN,
    SECRET,
    TIMEOUT_S,
    FakeSearch,
    deadline,
    run_all,
)
from trainer.launch.ports import free_ports
from trainer.tune.machines.server import SweepServer
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec


def test_trials_reach_a_client_unchanged_and_their_outcomes_the_search(start_server):
    search = FakeSearch(3)
    server = start_server(search)
    with server.client() as client:
        first = client.ask("0")
        assert first == TrialSpec("0000", {"train": {"seed": 1}}, ("--workers=2",), "0000")
        assert search.runners == {"0000": "a/0"}
        assert client.report("0000", Progress(5, 0.5, {"final_loss": float("nan")})) is False
        assert client.report("0000", Progress(6, 0.5, {})) is True
        assert repr(search.reports[0][1]) == repr(Progress(5, 0.5, {"final_loss": float("nan")}))
        client.tell("0000", OUTCOME)
        assert search.outcomes == {"0000": OUTCOME}  # When `tell` returns.
        second = client.ask("a/1")
        assert search.runners == {"0001": "a/1"}
        client.requeue(second.id, 2.5)
        assert search.requeued == [("0001", 2.5)]
        run_all(client)
        assert client.ask("0") is None
    assert server.result.result(TIMEOUT_S) is None
    assert sorted(search.outcomes) == ["0000", "0001", "0002"]


def test_every_client_learns_that_the_sweep_has_finished_before_the_server_ends(start_server):
    server = start_server(FakeSearch(1))
    with server.client("a") as idle, server.client("b") as busy:
        run_all(busy)
        until = deadline()
        while not idle.is_finished:  # With the answer to its next heartbeat.
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not server.result.done()
    server.result.result(TIMEOUT_S)


def test_thirty_two_clients_share_a_tuner_that_takes_longer_than_their_timeout(
    start_server, answers_without_the_tuner
):
    # The tuner has no trial yet. Answers of 0.5 s one after another would take 16 s, and a client
    # without an answer for 10 s would be lost.
    search = FakeSearch(40, ask_s=TIMEOUT_S)
    server = start_server(search, peer_timeout_s=10.0)
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(32) as pool:
        futures = [pool.submit(server.client, f"c{n}", peer_timeout_s=10.0) for n in range(32)]
        clients = [stack.enter_context(future.result(TIMEOUT_S)) for future in futures]
        for future in [pool.submit(client.ask, "0") for client in clients]:
            assert future.result(TIMEOUT_S) is None
        search.may_answer.set()
        for future in [pool.submit(run_all, client) for client in clients]:
            future.result(TIMEOUT_S)
    server.result.result(TIMEOUT_S)
    assert len(search.outcomes) == 40 and not search.requeued


def test_a_slow_tuner_delays_neither_heartbeats_nor_outcomes_and_its_trial_is_not_lost(
    start_server, answers_without_the_tuner
):
    search = FakeSearch(1, ask_s=TIMEOUT_S)
    server = start_server(search)
    with server.client() as client:
        for _ in range(3):  # Each is answered while the tuner computes.
            assert client.ask("0") is None
            client._call("heartbeat")
        assert not search.runners
        search.may_answer.set()
        run_all(client, "1")
    server.result.result(TIMEOUT_S)
    assert [*search.outcomes] == ["0000"]


def test_a_trial_whose_client_disconnected_before_the_answer_is_requeued(
    start_server, answers_without_the_tuner
):
    search = FakeSearch(1, ask_s=TIMEOUT_S)
    server = start_server(search)
    client = server.client()
    assert client.ask("0") is None
    assert search.is_asked.wait(TIMEOUT_S)  # Before that the call would just be cancelled.
    client.close()
    search.may_answer.set()
    assert server.await_line("client a") == "client a at 127.0.0.1 connected"
    line = "client a at 127.0.0.1 disconnected; trial 0000 is requeued"
    assert server.await_line("client a") == line
    assert [trial_id for trial_id, _ in search.requeued] == ["0000"]


@pytest.mark.parametrize(
    "number, peer_timeout_s, reason",
    [
        (signal.SIGKILL, TIMEOUT_S, "its connection closed"),  # Without waiting for the timeout.
        (signal.SIGSTOP, 3.0, "not heard from for 3 s"),
    ],
)
def test_the_trial_of_a_lost_client_is_requeued_in_time(
    start_server, start_client_process, number, peer_timeout_s, reason
):
    server = start_server(FakeSearch(1), peer_timeout_s=peer_timeout_s)
    process, trial_id = start_client_process(server, "b")
    assert trial_id == "0000"
    process.send_signal(number)
    assert server.await_line("lost") == (
        f"client b at 127.0.0.1 was lost ({reason}); trial 0000 is requeued"
    )
    with server.client() as client:
        run_all(client)
    if number == signal.SIGSTOP:
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate("0000\n", TIMEOUT_S)
        assert output == (
            f"the sweep's server at {server.address} was lost (not heard from for 3 s); run the same "
            "command again to resume.\n"
        )
    server.result.result(TIMEOUT_S)


def test_a_client_that_disconnects_requeues_its_trials_and_may_come_back(start_server):
    search = FakeSearch(3)
    server = start_server(search)
    with server.client() as client:
        client.ask("0")
        client.ask("1")
    line = "client a at 127.0.0.1 disconnected; trials 0000 and 0001 are requeued"
    assert server.await_line("disconnected") == line
    assert [*search.queued] == ["0002", "0000", "0001"]
    assert 0 <= search.requeued[0][1] < TIMEOUT_S
    with server.client() as client:
        run_all(client)
    server.result.result(TIMEOUT_S)


def test_a_client_cannot_change_another_clients_trial_and_should_stop_running_it(start_server):
    search = FakeSearch(2)
    server = start_server(search)
    with server.client("a") as client, server.client("b") as other:
        trial_id = other.ask("0").id
        client.tell(trial_id, OUTCOME)
        client.tell("unknown", OUTCOME)
        client.requeue(trial_id, 1.0)
        assert client.report(trial_id, Progress(0, 0.0, {})) is True
        assert not search.outcomes and not search.requeued and not search.reports
        other.tell(trial_id, OUTCOME)
        other.tell(trial_id, Outcome("failed", {}))
        assert search.outcomes == {trial_id: OUTCOME}


def test_a_server_ends_when_it_has_had_no_client_for_too_long(start_server, idle_clock):
    server = start_server(FakeSearch(1), startup_timeout_s=1.0)
    with server.client():
        idle_clock.now += 100
    server.await_no_client()
    idle_clock.now += 0.9
    with pytest.raises(concurrent.futures.TimeoutError):
        server.result.result(0.3)  # In which the server polls.
    idle_clock.now += 0.1
    error = server.result.exception(TIMEOUT_S)
    assert type(error) is Resumable
    assert str(error) == (
        f"the sweep's server at {server.address} had no client for 1 s, and there are trials left; start "
        "clients, or correct the address they connect to, and run the same command again to resume."
    )


def test_a_finished_sweep_needs_no_client(start_server):
    assert start_server(FakeSearch(0)).result.result(TIMEOUT_S) is None


def test_the_clients_learn_of_a_stop_and_their_trials_are_requeued(start_server):
    search = FakeSearch(2)
    server = start_server(search)
    losses = queue.Queue()
    with server.client(on_lost=losses.put) as client:
        client.ask("0")
        server.stop.set()
        message = (
            f"the sweep's server at {server.address} was lost (it was stopped); run the same command "
            "again to resume."
        )
        assert str(losses.get(timeout=TIMEOUT_S)) == message
        for call in (lambda: client.ask("0"), lambda: client.tell("0000", OUTCOME)):
            with pytest.raises(Resumable) as caught:
                call()
            assert str(caught.value) == message
    server.result.result(TIMEOUT_S)
    assert [trial_id for trial_id, _ in search.requeued] == ["0000"]
    assert losses.empty()


class FullDisk(FakeSearch):
    def tell(self, trial_id, outcome):
        raise OSError("no space left on device")


def test_an_error_of_the_search_ends_the_server_with_that_error(start_server):
    server = start_server(FullDisk(1))
    with server.client() as client:
        client.ask("0")
        with pytest.raises(Resumable, match=r"was lost \(it failed\)"):
            client.tell("0000", OUTCOME)
    with pytest.raises(OSError, match="no space left on device"):
        server.result.result(TIMEOUT_S)


@pytest.mark.parametrize(
    "message",
    [
        {"call": "__init__", "number": 0},
        {"call": "ask", "number": "0", "runner": "0"},
        {"call": "tell", "number": 0, "trial": [], "outcome": {}},
    ],
    ids=str,
)
def test_only_the_client_that_sends_an_invalid_message_is_lost(start_server, message):
    search = FakeSearch(2)
    server = start_server(search)
    with server.client("b") as other:
        channel = server.admitted_channel()
        channel.send({"call": "ask", "number": 0, "runner": "0"})
        assert channel.receive(deadline())["trial"]["id"] == "0000"
        channel.send(message)
        assert server.await_line("lost") == (
            "client a at 127.0.0.1 was lost (it sent an invalid message); trial 0000 is requeued"
        )
        channel.close()
        run_all(other)
    server.result.result(TIMEOUT_S)
    assert len(search.outcomes) == 2


@pytest.mark.parametrize(
    "address, bind, message",
    [
        (
            "192.0.2.1:9000",
            "",
            "the address of the sweep's server names an address this machine cannot listen on. Received: "
            "'192.0.2.1:9000'; correct it, or set --bind to an address of this machine.",
        ),
        (
            "127.0.0.1:9000",
            "192.0.2.1",
            "`--bind` names an address this machine cannot listen on. Received: '192.0.2.1:9000'; try "
            "--bind=0.0.0.0, for all interfaces.",
        ),
        (
            "127.0.0.1:9000",
            "http://here",
            "`--bind` must be an address of this machine. Received: 'http://here'; try 0.0.0.0, for all "
            "interfaces.",
        ),
    ],
)
def test_an_address_at_which_the_server_cannot_listen_is_reported(address, bind, message):
    server = SweepServer(FakeSearch(1), address, bind, {}, PLAIN, 1.0, pytest.fail)
    with pytest.raises(ClusterError) as caught:
        server.serve(1.0, lambda: False)
    assert str(caught.value) == message


def test_a_port_in_use_is_reported(start_server):
    server = start_server(FakeSearch(1))
    second = SweepServer(FakeSearch(1), server.address, "", {}, PLAIN, 1.0, pytest.fail)
    with pytest.raises(ClusterError) as caught:
        second.serve(1.0, lambda: False)
    assert str(caught.value) == (
        "the address of the sweep's server names a port that is in use on this machine. Received: "
        f"'{server.address}'; end the program that uses it, or choose another port."
    )


def test_a_server_behind_another_address_listens_at_bind():
    lines, port = [], free_ports(1)[0]
    search, address = FakeSearch(0), f"192.0.2.1:{port}"
    server = SweepServer(search, address, "127.0.0.1", {}, SECRET, 1.0, lines.append)
    server.serve(TIMEOUT_S, lambda: False)
    assert lines == [f"the sweep's server listens at 127.0.0.1:{port}"]


def test_a_server_without_a_secret_warns():
    lines, address = [], f"127.0.0.1:{free_ports(1)[0]}"
    server = SweepServer(FakeSearch(0), address, "", {}, PLAIN, 1.0, lines.append)
    server.serve(TIMEOUT_S, lambda: False)
    assert lines == [
        f"the sweep's server listens at {address}; no secret: any process that can reach it can take "
        "part (SECURITY.md)"
    ]
