"""Do the workers of a cluster get the same sum, and an error when one is lost?"""

import concurrent.futures
import contextlib
import functools
import socket
import threading
import time

import numpy as np
import pytest

from strategies.cluster.spec import ClusterSpec, Task
from strategies.collectives.all_reduce import PeerLost, SocketAllReduce, aligned
from strategies.network import security
from strategies.network.flags import ALL, CONTROL
from trainer.launch.ports import free_ports

RUN = "0123456789abcdef" * 2
PLAIN = security.PLAIN
SECRET = b"a secret of many bytes"


def _clusters(workers: int) -> list[ClusterSpec]:
    jobs = {"worker": tuple(f"127.0.0.1:{port}" for port in free_ports(workers))}
    return [ClusterSpec(jobs, Task("worker", index)) for index in range(workers)]


def _on_all(workers: int, act, secured=PLAIN) -> list:
    """The results of `act(exchange, rank)` on each of N connected workers."""
    clusters = _clusters(workers)

    def one(rank: int):
        with contextlib.closing(
            SocketAllReduce.connect(clusters[rank], RUN, secured, 30)
        ) as exchange:
            return act(exchange, rank)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers), timeout=60))


def _vectors(workers: int, size: int) -> np.ndarray:
    """Numbers of very different magnitudes, so that the last bits of a sum depend on its order."""
    random = np.random.default_rng(workers)
    return (random.normal(size=(workers, size)) * 10.0 ** random.integers(-6, 6, (workers, size))).astype(
        np.float32
    )  # fmt: skip


def _pairwise(terms: list) -> np.ndarray:
    if len(terms) == 1:
        return terms[0]
    pairs = [functools.reduce(np.add, terms[i : i + 2]) for i in range(0, len(terms), 2)]
    return _pairwise(pairs)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [1, 7, 101_774])
def test_every_worker_gets_the_pairwise_sum_bit_for_bit(workers, size):
    vectors = _vectors(workers, size)

    def act(exchange, rank):
        total = aligned(size)
        parts = np.split(vectors[rank], [size // 3, size // 3, size // 2])
        exchange.sum(parts, total)
        first = total.copy()
        exchange.sum(parts, total)  # Again, over the same connections and into the same array.
        return first, total

    expected = _pairwise(list(vectors)).tobytes()
    for totals in _on_all(workers, act):
        assert [total.tobytes() for total in totals] == [expected, expected]


@pytest.mark.parametrize("encrypt", ["", CONTROL, ALL])
def test_vectors_larger_than_any_socket_buffer_are_added(encrypt):
    size = 5_000_000
    secured = security.from_secret(SECRET, encrypt) if encrypt else PLAIN

    def act(exchange, rank):
        total = aligned(size)
        exchange.sum([np.full(size, rank + 1, np.float32)], total)
        return total.min(), total.max()

    assert _on_all(2, act, secured) == [(3, 3)] * 2
    assert _on_all(3, act, secured) == [(6, 6)] * 3


def test_broadcast_gives_every_worker_the_values_of_rank_0_in_any_dtype():
    sent = [
        np.int64(-7).reshape(()),
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.zeros((0, 4)),
    ]

    def act(exchange, rank):
        values = [np.array(value) if rank == 0 else np.full_like(value, 9) for value in sent]
        for value in values:
            exchange.broadcast(value)
        return values

    for values in _on_all(3, act):
        for value, expected in zip(values, sent, strict=True):
            assert value.dtype == expected.dtype and np.array_equal(value, expected)


@pytest.mark.parametrize("secured", [PLAIN, security.from_secret(SECRET)], ids=["plain", "tls"])
@pytest.mark.parametrize("workers", [2, 3])
def test_the_error_names_the_worker_that_closed_its_connection(workers, secured):
    size = 1_000_000

    def act(exchange, rank):
        if rank == workers - 1:
            return None
        with pytest.raises(PeerLost, match=r"worker \d was lost \(its connection closed\)") as lost:
            exchange.sum([np.ones(size, np.float32)], aligned(size))
        return str(lost.value)

    assert f"worker {workers - 1} was lost" in str(_on_all(workers, act, secured))


def test_the_error_names_a_worker_that_sends_nothing_for_silence_s(monkeypatch):
    monkeypatch.setattr(SocketAllReduce, "silence_s", 0.3)
    done = threading.Event()

    def act(exchange, rank):
        if rank == 1:
            return done.wait(30)
        with pytest.raises(PeerLost, match=r"worker 1 sent nothing in the all-reduce for 0\.3 s"):
            exchange.sum([np.ones(4, np.float32)], aligned(4))
        return done.set()

    _on_all(2, act)


def test_waiting_for_names_the_peer_during_a_wait_and_none_before_and_after():
    is_waited_for = threading.Event()

    def watch(exchange):
        while exchange.waiting_for != (Task("worker", 1),):
            time.sleep(0.01)
        is_waited_for.set()

    def act(exchange, rank):
        before = exchange.waiting_for
        if rank == 0:
            threading.Thread(target=watch, args=(exchange,), daemon=True).start()
        else:
            assert is_waited_for.wait(30)
        exchange.sum([np.ones(4, np.float32)], aligned(4))
        return before, exchange.waiting_for

    assert _on_all(2, act) == [((), ())] * 2


def test_a_connection_without_the_token_is_refused():
    first, second = _clusters(2)
    address = ("127.0.0.1", int(second.address(second.task).rpartition(":")[2]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        listening = pool.submit(SocketAllReduce.connect, second, RUN, PLAIN, 30)
        for said in (b"GET / HTTP/1.1\r\n\r\n" * 9, b"muster exchange " + b"0" * 39, b""):
            with _connected(address) as intruder, contextlib.suppress(OSError):
                intruder.sendall(said)
                intruder.shutdown(socket.SHUT_WR)
                assert intruder.recv(1) == b""
        with (
            contextlib.closing(SocketAllReduce.connect(first, RUN, PLAIN, 30)),
            contextlib.closing(listening.result(30)) as connected,
        ):
            assert connected.num_workers == 2


def test_silent_connections_do_not_delay_the_workers():
    first, second = _clusters(2)
    address = ("127.0.0.1", int(second.address(second.task).rpartition(":")[2]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as silent:
        listening = pool.submit(SocketAllReduce.connect, second, RUN, PLAIN, 30)
        for _ in range(100):  # Each of them used to cost two seconds.
            silent.enter_context(_connected(address))
        with (
            contextlib.closing(SocketAllReduce.connect(first, RUN, PLAIN, 10)),
            contextlib.closing(listening.result(30)) as connected,
        ):
            assert connected.num_workers == 2


def test_a_worker_of_another_run_is_not_accepted_as_a_peer():
    first, second = _clusters(2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        listening = pool.submit(SocketAllReduce.connect, second, RUN, PLAIN, 2)
        with pytest.raises(PeerLost, match="worker 1 did not connect in time"):
            SocketAllReduce.connect(first, RUN[::-1], PLAIN, 1)
        with pytest.raises(PeerLost, match="worker 0 did not connect in time"):
            listening.result(30)


def _connected(address) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(address, 10)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("present", [0, 1])
def test_the_error_names_a_worker_that_has_not_connected_by_the_deadline(present):
    with pytest.raises(PeerLost, match=f"worker {1 - present} did not connect in time"):
        SocketAllReduce.connect(_clusters(2)[present], RUN, PLAIN, 0.5)


def test_tensorflow_uses_an_aligned_array_without_a_copy():
    import tensorflow as tf

    array = aligned(1000)
    array[:] = 1
    tensor = tf.function(lambda: tf.numpy_function(lambda: array, [], tf.float32))()
    array[:] = 2
    assert tensor.numpy()[0] == 2
