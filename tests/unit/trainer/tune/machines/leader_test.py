"""A machine that hands out the trials of a sweep and runs some of them itself."""

import concurrent.futures
import contextlib
import queue
import time

import pytest

from strategies.errors import ClusterError, Resumable
from tests.unit.trainer.tune.machines.server_test import (
    PATIENCE_S,
    SETTINGS,
    WON,
    Trials,
    run_all,
    soon,
)
from trainer.launch.ports import free_ports
from trainer.tune.machines.client import Client
from trainer.tune.machines.leader import lead
from trainer.tune.machines.server import SweepServer


class Leading:
    """A search, its chief, and what the leader said."""

    def __init__(self, count, address="", expect_for_s=0.0):
        self.search = Trials(count)
        self.address = address or f"127.0.0.1:{free_ports(1)[0]}"
        self.lines = queue.Queue()
        self._chief = SweepServer(
            self.search, self.address, "", SETTINGS, b"", 5.0, self.lines.put, ["b"], expect_for_s
        )

    def lead(self, run, stop_requested=lambda: False):
        lead(self._chief, run, lambda: None, stop_requested)

    def client(self, **options):
        return Client("b", self.address, SETTINGS, b"", 5.0, 5.0, **options)


def test_a_leader_needs_no_client():
    leading = Leading(3)
    leading.lead(lambda look: run_all(leading.search))
    assert [*leading.search.told] == ["0000", "0001", "0002"]


def test_a_client_that_comes_when_the_sweep_is_over_hears_so():
    leading = Leading(0, expect_for_s=PATIENCE_S)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        led = pool.submit(leading.lead, lambda look: None)
        assert "listens" in leading.lines.get(timeout=PATIENCE_S)
        said = leading.lines.get(timeout=PATIENCE_S)
        assert said == "the sweep is over; waiting for b to hear so"
        with leading.client() as client:
            assert client.is_over
        led.result(PATIENCE_S)


def test_a_client_that_never_comes_is_not_waited_for_longer_than_was_asked():
    began = time.monotonic()
    Leading(0, expect_for_s=0.5).lead(lambda look: None)
    assert 0.5 <= time.monotonic() - began < PATIENCE_S


def test_the_leader_and_its_clients_share_the_trials():
    leading = Leading(4)

    def run(look):
        with leading.client() as client:
            mine, theirs = leading.search.ask("a/0"), client.ask("0")
            assert leading.search.runners == {mine.id: "a/0", theirs.id: "b/0"}
            leading.search.tell(mine.id, WON)
            client.tell(theirs.id, WON)
            run_all(client)
            look()

    leading.lead(run)
    assert sorted(leading.search.told) == ["0000", "0001", "0002", "0003"]


def test_what_a_lost_client_had_is_run_by_the_leader():
    leading = Leading(1)

    def run(look):
        with leading.client() as client:
            assert client.ask("0").id == "0000" and leading.search.ask("a/0") is None
        deadline = soon()
        while not (assignment := leading.search.ask("a/0")):
            assert time.monotonic() < deadline
            time.sleep(0.01)  # The chief hears of the loss from its own thread.
        leading.search.tell(assignment.id, WON)

    leading.lead(run)
    assert [trial for trial, _ in leading.search.given_back] == ["0000"]
    assert [*leading.search.told] == ["0000"]


def test_no_trial_begins_where_the_address_cannot_be_had():
    leading = Leading(1, "192.0.2.1:9000")
    with pytest.raises(ClusterError, match="names an address this machine cannot listen on"):
        leading.lead(lambda look: pytest.fail("it began"))


def test_the_clients_hear_of_an_error_by_which_the_leaders_own_trials_end():
    leading, lost = Leading(2), queue.Queue()
    with contextlib.ExitStack() as stack:

        def run(look):
            stack.enter_context(leading.client(on_lost=lost.put))
            raise OSError("no space left")

        with pytest.raises(OSError, match="no space left"):
            leading.lead(run)
        assert isinstance(lost.get(timeout=PATIENCE_S), Resumable)


def test_an_error_of_the_search_ends_the_leaders_own_trials():
    leading = Leading(2)
    leading.search.ask = lambda runner: 1 / 0

    def run(look):
        with leading.client() as client, pytest.raises(Resumable):
            client.ask("0")
        deadline = soon()
        while time.monotonic() < deadline:
            look()
            time.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        leading.lead(run)


def test_a_stop_ends_both():
    leading, stopped = Leading(2), []

    def run(look):
        with leading.client() as client:
            client.ask("0")
            stopped.append(True)

    leading.lead(run, lambda: bool(stopped))
    assert [trial for trial, _ in leading.search.given_back] == ["0000"]
    assert not leading.search.told
