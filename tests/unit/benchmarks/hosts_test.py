"""Are hosts connected, cut and repaired as asked, and is the reason one line where none can be made?"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.hosts import Hosts, HostsMissing

_SERVE = "import socket; s = socket.create_server(('', 2222)); print(1, flush=True); s.accept()"
_CONNECT = """
import socket, sys, time
deadline = time.monotonic() + float(sys.argv[2])
while (left_s := deadline - time.monotonic()) > 0:
    try:
        socket.create_connection((sys.argv[1], 2222), left_s)
        sys.exit()
    except OSError:  # Also just after a repair, where a look-up of the host has failed before it.
        time.sleep(0.1)
sys.exit(1)
"""
_PATIENCE_S = 60.0


@contextlib.contextmanager
def _made(bits_per_s: float) -> Iterator[Hosts]:
    with contextlib.ExitStack() as stack:
        try:
            hosts = stack.enter_context(Hosts(2, bits_per_s))
        except HostsMissing as error:
            pytest.skip(str(error))
        yield hosts


def _reaches(hosts: Hosts, timeout_s: float) -> bool:
    """Whether the first host connects to the second."""
    serve = [*hosts.within(1), sys.executable, "-S", "-c", _SERVE]
    with subprocess.Popen(serve, stdout=subprocess.PIPE) as server:
        assert server.stdout and server.stdout.readline()  # It listens.
        connect = [sys.executable, "-S", "-c", _CONNECT, hosts.addresses[1], str(timeout_s)]
        done = subprocess.run([*hosts.within(0), *connect], capture_output=True, check=False)
        server.kill()
    return done.returncode == 0


def test_a_host_reaches_another_unless_it_is_cut_off():
    with _made(0.0) as hosts:
        for how in ("switch", "cable"):
            hosts.cut(0, how)
            assert not _reaches(hosts, 1.0)
            hosts.repair(0)
            assert _reaches(hosts, _PATIENCE_S)


@pytest.mark.parametrize("bits_per_s, limits", [(0.0, 0), (1e9, 1)])
def test_a_cable_is_limited_only_where_a_rate_is_given(bits_per_s, limits):
    with _made(bits_per_s) as hosts:
        show = [*hosts.within(0), "tc", "qdisc", "show", "dev", "cable"]
        shown = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert shown.count("tbf") == limits


def test_without_iproute2_the_reason_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostsMissing, match="^[^\n]*`ip` is missing; install iproute2$"), Hosts(2):
        pytest.fail("there are hosts")
