"""Servers and client processes that end with their test."""

import contextlib
import json
import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.unit.trainer.tune.machines.harness import SETTINGS, TIMEOUT_S, ServerThread

# A client that asks for one trial, and then reports on the trials that its stdin names.
CLIENT_SCRIPT = """
import json, sys
from strategies.errors import InputError, Resumable
from strategies.network.security import PLAIN
from trainer.tune.search.trial_source import Progress
from trainer.tune.machines.client import Client

name, address, settings = json.loads(sys.argv[1])
try:
    with Client(name, address, settings, PLAIN, 20, 20) as client:
        print(client.ask("0").id, flush=True)
        for line in sys.stdin:
            print(client.report(line.strip(), Progress(1, 1.0, {})), flush=True)
except (InputError, Resumable) as error:
    print(error, flush=True)
"""


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
