"""Do workers on one machine share memory, and no others, and does nothing of it remain?"""

import concurrent.futures
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from strategies.cluster.spec import Task
from strategies.collectives import same_machine, shared_vectors
from strategies.collectives.all_reduce import PeerLost, SocketAllReduce, aligned
from tests.paths import ROOT

SIZE = 300_000
PATIENCE_S = 60.0
TASKS = (Task("worker", 0), Task("worker", 1))
# A worker with the connection of this descriptor, which adds ones and prints with whom it shares memory.
WORKER = """
import socket, sys
import numpy as np
from strategies.cluster.spec import Task
from strategies.collectives import same_machine
from strategies.collectives.all_reduce import SocketAllReduce, aligned

same_machine._TIMEOUT_S = 60.0
connection = socket.socket(fileno=int(sys.argv[1]))
exchange = SocketAllReduce((Task("worker", 0), Task("worker", 1)), 1, {0: connection})
exchange.share_memory()
print(*exchange._pairs.memory.peers, flush=True)
total = aligned(300_000)
while True:
    exchange.sum([np.ones(300_000, np.float32)], total)
"""


@pytest.fixture(autouse=True)
def no_worker_is_too_slow_to_share(monkeypatch):
    monkeypatch.setattr(same_machine, "_TIMEOUT_S", PATIENCE_S)


def _connections() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        called = socket.create_connection(listener.getsockname())
        return called, listener.accept()[0]


@contextlib.contextmanager
def _pair():
    """Two workers of this process that share memory."""
    first, second = _connections()
    both = [SocketAllReduce(TASKS, 0, {1: first}), SocketAllReduce(TASKS, 1, {0: second})]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(SocketAllReduce.share_memory, both, timeout=PATIENCE_S))
        yield both, pool
    for exchange in both:
        exchange.close()


def _peers(exchange: SocketAllReduce) -> frozenset[int]:
    return exchange._pairs.memory.peers


def _sum(exchange: SocketAllReduce, size: int = SIZE) -> tuple[float, float]:
    total = aligned(size)
    exchange.sum([np.arange(size, dtype=np.float32)], total)
    return float(total[0]), float(total[-1])


def _sums(exchange: SocketAllReduce, number: int) -> None:
    for _ in range(number):
        _sum(exchange)


def _moved(exchange: SocketAllReduce) -> list[int]:
    """The bytes of each transfer from now on."""
    found: list[int] = []
    move = exchange._pairs._move

    def counting(outgoing, incoming):
        found.append(sum(len(view) for views in outgoing.values() for view in views))
        move(outgoing, incoming)

    exchange._pairs._move = counting
    return found


def test_a_vector_in_memory_is_announced_by_one_byte():
    with _pair() as ((first, second), pool):
        assert (_peers(first), _peers(second)) == ({1}, {0})
        moved = _moved(first)
        for size in (SIZE, 10, 2 * SIZE, 2 * SIZE):  # The memory grows, and is used again.
            assert list(pool.map(_sum, (first, second), (size, size))) == [(0, 2 * (size - 1))] * 2
        assert moved == [1] * 4


@pytest.mark.parametrize("fails", [(0,), (1,), (0, 1)])
def test_a_vector_that_there_is_no_memory_for_is_sent(fails):
    with _pair() as ((first, second), pool):
        moved = _moved(first)
        for place, exchange in enumerate((first, second)):
            if place not in fails:
                for _ in range(2):  # Reserves both buffers, and has its turns as before.
                    exchange._pairs.memory.next(SIZE)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * SIZE, hard))  # Of 4 * SIZE that it needs.
        try:
            assert list(pool.map(_sum, (first, second))) == [(0, 2 * (SIZE - 1))] * 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert moved == [1, 4 * SIZE]
        # A smaller one has memory, and no larger one is tried again.
        assert list(pool.map(_sum, (first, second), (10, 10))) == [(0, 18)] * 2
        assert list(pool.map(_sum, (first, second))) == [(0, 2 * (SIZE - 1))] * 2
        assert moved == [1, 4 * SIZE, 1, 1, 4 * SIZE]


@contextlib.contextmanager
def _worker(*within: str):
    """The first worker, and the process of the second, started by the command `within`."""
    own, theirs = _connections()
    command = [*within, sys.executable, "-c", WORKER, str(theirs.fileno())]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()], text=True
    ) as process:
        theirs.close()
        exchange = SocketAllReduce(TASKS, 0, {1: own})
        try:
            exchange.share_memory()
            assert process.stdout
            yield exchange, process, process.stdout.readline().strip()
        finally:
            exchange.close()
            process.kill()


def test_workers_with_networks_of_their_own_send_their_vectors():
    within = ("unshare", "--map-root-user", "--net")
    with contextlib.suppress(OSError):
        if not subprocess.run([*within, "true"], capture_output=True, check=False).returncode:
            with _worker(*within) as (exchange, _, said):
                assert (_peers(exchange), said) == (set(), "")
                assert _sum(exchange) == (1, SIZE)
            return
    pytest.skip("needs a network namespace")


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP])
def test_a_peer_that_is_killed_or_stopped_is_lost_and_leaves_no_memory(way):
    with _worker() as (exchange, process, said):
        assert (_peers(exchange), said) == ({1}, "0")
        assert _sum(exchange) == (1, SIZE)
        if way == signal.SIGSTOP:  # A process that is killed may take longer to be gone.
            exchange.silence_s = 0.5
        os.kill(process.pid, way)
        error = "its connection closed" if way == signal.SIGKILL else "sent nothing"
        with pytest.raises(PeerLost, match=error):
            _sums(exchange, 3)  # The first may have been announced before.
    assert not [name for name in os.listdir("/dev/shm") if "muster" in name]
    assert "muster-vectors" not in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert not [fd for fd in os.listdir("/proc/self/fd") if "muster-vectors" in _target(fd)]


def _target(fd: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


def test_a_stranger_who_finds_the_socket_gets_nothing():
    first, second = _connections()
    both = [SocketAllReduce(TASKS, 0, {1: first}), SocketAllReduce(TASKS, 1, {0: second})]
    answers = []

    def gathered(exchange):
        def gather(row):
            if exchange is both[1] and not answers and row.any():
                # The first row of worker 1, which listens by now: its name is known to the machine.
                answers.extend(_stranger(row.tobytes()[:32], said) for said in (b"", b"x" * 36))
            return [rows[0] for rows in exchange.gather(row[np.newaxis], (1, 1))]

        return gather

    own = [shared_vectors.files(), shared_vectors.files()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(same_machine.meet, map(gathered, both), (0, 1), own, timeout=PATIENCE_S)
        )
    assert [list(one) for one in found] == [[1], [0]]
    for stranger in answers:
        with stranger:
            assert socket.recv_fds(stranger, 1, 2)[:2] == (b"", [])
    for descriptors in (*own, found[0][1], found[1][0]):
        shared_vectors.close_files(descriptors)
    for exchange in both:
        exchange.close()


def _stranger(name: bytes, said: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(b"\0" + name)
    if said:
        connection.sendall(said)
    else:
        connection.shutdown(socket.SHUT_WR)
    return connection


def test_a_worker_without_shared_memory_has_no_peers():
    first, second = _connections()
    both = [SocketAllReduce(TASKS, 0, {1: first}), SocketAllReduce(TASKS, 1, {0: second})]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(SocketAllReduce.share_memory, both, (True, False), timeout=PATIENCE_S))
        assert list(pool.map(_sum, both)) == [(0, 2 * (SIZE - 1))] * 2
    assert [*map(_peers, both)] == [set(), set()]
    for exchange in both:
        exchange.close()
