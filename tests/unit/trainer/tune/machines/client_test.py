"""Does a client notice a lost or invalid server, and say why?"""

import contextlib
import queue
import socket

import pytest

from strategies.errors import Resumable
from tests.unit.trainer.tune.machines.harness import PLAIN, TIMEOUT_S, FakeSearch, fake_server
from trainer.tune.machines import client as client_lib
from trainer.tune.machines.client import Client
from trainer.tune.search.trial_source import TrialSpec

WELCOME = {"welcome": True, "over": False}


def test_a_silent_server_is_lost_after_the_timeout():
    losses = queue.Queue()
    with (
        fake_server(WELCOME) as address,
        Client("a", address, {}, PLAIN, TIMEOUT_S, 0.5, losses.put) as client,
    ):
        loss = losses.get(timeout=TIMEOUT_S)  # Without any call.
        assert f"server at {address} was lost (not heard from for 0.5 s)" in str(loss)
        with pytest.raises(Resumable) as caught:
            client.ask("0")
        assert caught.value is loss


def test_a_closed_connection_is_a_loss_unless_the_sweep_has_finished():
    losses = queue.Queue()
    with contextlib.ExitStack() as stack:
        for is_finished in (True, False):
            with fake_server({**WELCOME, "over": is_finished}) as address:
                client = Client("a", address, {}, PLAIN, TIMEOUT_S, TIMEOUT_S, losses.put)
                stack.enter_context(client)
        loss = str(losses.get(timeout=TIMEOUT_S))
        assert f"server at {address} was lost (its connection closed)" in loss
    assert losses.empty()


def test_an_invalid_trial_is_not_run(start_server):
    class InvalidSearch(FakeSearch):
        def ask(self, runner):
            return TrialSpec("../elsewhere", {})

    lost = pytest.raises(Resumable, match="was lost .it sent an invalid trial.; run the same")
    with start_server(InvalidSearch(1)).client() as client, lost:
        client.ask("0")


def test_the_error_names_the_server_that_did_not_answer_and_the_reason(monkeypatch):
    # It calls once: no time is left for a second call.
    monkeypatch.setattr(client_lib, "_RETRY_INTERVAL_S", TIMEOUT_S)
    with fake_server(sweep="another") as other_address, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # It does not listen, and no other program can.
        for address, why in (
            (f"127.0.0.1:{silent.getsockname()[1]}", "refused"),
            (other_address, "another program answers there"),
        ):
            with pytest.raises(Resumable) as caught:
                Client("a", address, {}, PLAIN, TIMEOUT_S, TIMEOUT_S)
            assert str(caught.value) == (
                f"no answer within {TIMEOUT_S:g} s from the sweep's server at {address} ({why}); start "
                "it, or correct its address, and run the same command again."
            )
