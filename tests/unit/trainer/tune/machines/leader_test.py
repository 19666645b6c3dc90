"""Does a leader serve the sweep and run trials too, and do both end together?"""

import concurrent.futures
import contextlib
import queue
import time

import pytest

from strategies.errors import ClusterError, Resumable
from tests.unit.trainer.tune.machines.harness import (
    OUTCOME,
    PLAIN,
    SETTINGS,
    TIMEOUT_S,
    FakeSearch,
    deadline,
    run_all,
)
from trainer.launch.ports import free_ports
from trainer.tune.machines.client import Client
from trainer.tune.machines.leader import lead
from trainer.tune.machines.server import SweepServer


class Leader:
    """A search, its server, and the lines that the server printed."""

    def __init__(self, count, address="", expect_for_s=0.0):
        self.search = FakeSearch(count)
        self.address = address or f"127.0.0.1:{free_ports(1)[0]}"
        self.lines = queue.Queue()
        self._server = SweepServer(
            self.search,
            self.address,
            "",
            SETTINGS,
            PLAIN,
            TIMEOUT_S,
            self.lines.put,
            ["b"],
            expect_for_s,
        )

    def lead(self, run, stop_requested=lambda: False):
        lead(self._server, run, lambda: None, stop_requested)

    def client(self, **options):
        return Client("b", self.address, SETTINGS, PLAIN, TIMEOUT_S, TIMEOUT_S, **options)


def test_a_leader_needs_no_client():
    leader = Leader(3)
    leader.lead(lambda poll: run_all(leader.search))
    assert [*leader.search.outcomes] == ["0000", "0001", "0002"]


def test_an_expected_client_that_connects_after_the_end_learns_that_the_sweep_has_finished():
    leader = Leader(0, expect_for_s=TIMEOUT_S)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        result = pool.submit(leader.lead, lambda poll: None)
        assert "listens" in leader.lines.get(timeout=TIMEOUT_S)
        line = leader.lines.get(timeout=TIMEOUT_S)
        assert line == "the sweep has finished; waiting for clients that have not connected: b"
        with leader.client() as client:
            assert client.is_finished
        result.result(TIMEOUT_S)


def test_a_leader_waits_for_expected_clients_only_for_the_given_time():
    began = time.monotonic()
    Leader(0, expect_for_s=0.5).lead(lambda poll: None)
    assert 0.5 <= time.monotonic() - began < TIMEOUT_S


def test_the_leader_and_its_clients_share_the_trials():
    leader = Leader(4)

    def run(poll):
        with leader.client() as client:
            own, theirs = leader.search.ask("a/0"), client.ask("0")
            assert leader.search.runners == {own.id: "a/0", theirs.id: "b/0"}
            leader.search.tell(own.id, OUTCOME)
            client.tell(theirs.id, OUTCOME)
            run_all(client)
            poll()

    leader.lead(run)
    assert sorted(leader.search.outcomes) == ["0000", "0001", "0002", "0003"]


def test_the_leader_runs_the_trial_of_a_lost_client():
    leader = Leader(1)

    def run(poll):
        with leader.client() as client:
            assert client.ask("0").id == "0000" and leader.search.ask("a/0") is None
        until = deadline()
        while not (spec := leader.search.ask("a/0")):
            assert time.monotonic() < until
            time.sleep(0.01)  # The server notices the loss in a thread of its own.
        leader.search.tell(spec.id, OUTCOME)

    leader.lead(run)
    assert [trial_id for trial_id, _ in leader.search.requeued] == ["0000"]
    assert [*leader.search.outcomes] == ["0000"]


def test_no_trial_begins_if_the_server_cannot_listen():
    leader = Leader(1, "192.0.2.1:9000")
    with pytest.raises(ClusterError, match="names an address this machine cannot listen on"):
        leader.lead(lambda poll: pytest.fail("a trial began"))


def test_the_clients_learn_of_an_error_of_the_leaders_own_trials():
    leader, losses = Leader(2), queue.Queue()
    with contextlib.ExitStack() as stack:

        def run(poll):
            stack.enter_context(leader.client(on_lost=losses.put))
            raise OSError("no space left")

        with pytest.raises(OSError, match="no space left"):
            leader.lead(run)
        assert isinstance(losses.get(timeout=TIMEOUT_S), Resumable)


def test_an_error_of_the_search_ends_the_leaders_own_trials():
    leader = Leader(2)
    leader.search.ask = lambda runner: 1 / 0

    def run(poll):
        with leader.client() as client, pytest.raises(Resumable):
            client.ask("0")
        until = deadline()
        while time.monotonic() < until:
            poll()
            time.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        leader.lead(run)


def test_a_stop_ends_the_server_and_the_trials():
    leader, stopped = Leader(2), []

    def run(poll):
        with leader.client() as client:
            client.ask("0")
            stopped.append(True)

    leader.lead(run, lambda: bool(stopped))
    assert [trial_id for trial_id, _ in leader.search.requeued] == ["0000"]
    assert not leader.search.outcomes
