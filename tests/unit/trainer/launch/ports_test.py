"""The ports for a cluster on this machine."""

import socket
import subprocess
import sys

from tests.paths import ROOT
from trainer.launch import ports as ports_lib


def test_free_ports_can_be_bound_and_are_below_those_of_outgoing_connections():
    ports = ports_lib.free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        assert max(ports) < other.getsockname()[1]


_OTHER = """
import random
from trainer.launch import ports

random.sample = lambda *unused: [*range(12_000, 13_000)]
print(*ports.free_ports(5))
input()
"""


def test_a_port_that_was_found_is_not_found_again_before_it_is_bound(monkeypatch):
    """In the order of the candidates, this process and another would find the same ones."""
    monkeypatch.setattr(ports_lib.random, "sample", lambda *unused: [*range(12_000, 13_000)])
    command = [sys.executable, "-c", _OTHER]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        theirs = {*map(int, other.stdout.readline().split())}
        mine = [{*ports_lib.free_ports(5)} for _ in range(2)]
        other.communicate("\n", timeout=60)
    assert len(theirs) == 5 and not mine[0] & mine[1] and not theirs & (mine[0] | mine[1])
