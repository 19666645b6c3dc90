"""Servers and client processes that end with their test."""

import contextlib
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.paths import ROOT
from tests.unit.trainer.tune.machines.harness import SETTINGS, TIMEOUT_S, ServerThread
from trainer.tune.machines import admission, client_session

# A client that asks for one trial, and then reports on the trials that its stdin names.
CLIENT_SCRIPT = """
import json, sys
from strategies.errors import InputError, Resumable
from strategies.network.security import PLAIN
from trainer.tune.search.trial_source import Progress
from trainer.tune.machines.client import Client

name, address, settings = json.loads(sys.argv[1])
try:
    with Client(name, address, settings, PLAIN, 60, 60) as client:
        print(client.ask("0").id, flush=True)
        for line in sys.stdin:
            print(client.report(line.strip(), Progress(1, 1.0, {})), flush=True)
except (InputError, Resumable) as error:
    print(error, flush=True)
"""


@pytest.fixture(autouse=True)
def every_ask_is_answered(monkeypatch):
    """A client that asks gets its trial, and not the advice to ask again, however slow the machine is."""
    monkeypatch.setattr(client_session, "_ASK_TIMEOUT_S", TIMEOUT_S)


@pytest.fixture
def answers_without_the_tuner(monkeypatch, every_ask_is_answered):
    """A client is asked to ask again, as it is in use, but soon."""
    monkeypatch.setattr(client_session, "_ASK_TIMEOUT_S", 0.5)


@pytest.fixture
def idle_clock(monkeypatch):
    """The clock by which a server measures how long it has had no client. A test moves its `now`."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def start_server():
    """Starts servers, which are stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start(*args, **options):
            server = ServerThread(*args, **options)
            stack.callback(server.result.exception, TIMEOUT_S)
            stack.callback(server.stop.set)
            return server

        yield start


@pytest.fixture
def start_client_process():
    """Starts a client in a process, and returns it with the id of the trial that it was assigned."""
    with contextlib.ExitStack() as stack:

        def start(server, name):
            argument = json.dumps([name, server.address, SETTINGS])
            process = subprocess.Popen(
                [sys.executable, "-c", CLIENT_SCRIPT, argument],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process, process.stdout.readline().strip()

        yield start
