"""Do the workers of a cluster get the same sum, and an error where one is gone?"""

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
from trainer.launch.ports import free_ports

TOKEN = "0123456789abcdef" * 2


def _clusters(workers: int) -> list[ClusterSpec]:
    jobs = {"worker": tuple(f"127.0.0.1:{port}" for port in free_ports(workers))}
    return [ClusterSpec(jobs, Task("worker", index)) for index in range(workers)]


def _on_all(workers: int, act) -> list:
    """What `act(exchange, rank)` returned on each of so many connected workers."""
    clusters = _clusters(workers)

    def one(rank: int):
        with contextlib.closing(SocketAllReduce.connect(clusters[rank], TOKEN, 30)) as exchange:
            return act(exchange, rank)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers), timeout=60))


def _vectors(workers: int, size: int) -> np.ndarray:
    """Of very different sizes, so that the order of a sum shows in its last bits."""
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
        exchange.sum(parts, total)  # Again, over the same connections and into the same place.
        return first, total

    expected = _pairwise(list(vectors)).tobytes()
    for totals in _on_all(workers, act):
        assert [total.tobytes() for total in totals] == [expected, expected]


def test_vectors_larger_than_any_buffer_between_the_workers_pass():
    size = 5_000_000

    def act(exchange, rank):
        total = aligned(size)
        exchange.sum([np.full(size, rank + 1, np.float32)], total)
        return total.min(), total.max()

    assert _on_all(2, act) == [(3, 3)] * 2
    assert _on_all(3, act) == [(6, 6)] * 3


def test_all_get_the_values_of_rank_0_whatever_their_type():
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


@pytest.mark.parametrize("workers", [2, 3])
def test_a_worker_that_leaves_is_named_by_the_others(workers):
    size = 1_000_000

    def act(exchange, rank):
        if rank == workers - 1:
            return None
        with pytest.raises(PeerLost, match=r"worker \d was lost \(its connection closed\)") as lost:
            exchange.sum([np.ones(size, np.float32)], aligned(size))
        return str(lost.value)

    assert f"worker {workers - 1} was lost" in str(_on_all(workers, act))


def test_a_worker_that_takes_no_part_is_named_within_the_bound(monkeypatch):
    monkeypatch.setattr(SocketAllReduce, "silence_s", 0.3)
    done = threading.Event()

    def act(exchange, rank):
        if rank == 1:
            return done.wait(30)
        with pytest.raises(PeerLost, match=r"worker 1 took no part in the exchange for 0\.3 s"):
            exchange.sum([np.ones(4, np.float32)], aligned(4))
        return done.set()

    _on_all(2, act)


def test_whoever_cannot_show_the_token_is_turned_away():
    first, second = _clusters(2)
    address = ("127.0.0.1", int(second.address(second.task).rpartition(":")[2]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        listening = pool.submit(SocketAllReduce.connect, second, TOKEN, 30)
        for said in (b"GET / HTTP/1.1\r\n\r\n" * 9, b"muster exchange " + b"0" * 39, b""):
            with _connected(address) as stranger, contextlib.suppress(OSError):
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(1) == b""
        with (
            contextlib.closing(SocketAllReduce.connect(first, TOKEN, 30)),
            contextlib.closing(listening.result(30)) as connected,
        ):
            assert connected.num_workers == 2


def test_strangers_that_say_nothing_do_not_hold_up_the_workers():
    first, second = _clusters(2)
    address = ("127.0.0.1", int(second.address(second.task).rpartition(":")[2]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as strangers:
        listening = pool.submit(SocketAllReduce.connect, second, TOKEN, 30)
        for _ in range(100):  # Each of them used to be given two seconds.
            strangers.enter_context(_connected(address))
        with (
            contextlib.closing(SocketAllReduce.connect(first, TOKEN, 10)),
            contextlib.closing(listening.result(30)) as connected,
        ):
            assert connected.num_workers == 2


def test_a_worker_of_another_run_is_no_peer():
    first, second = _clusters(2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        listening = pool.submit(SocketAllReduce.connect, second, TOKEN, 2)
        with pytest.raises(PeerLost, match="worker 1 did not connect in time"):
            SocketAllReduce.connect(first, TOKEN[::-1], 1)
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
def test_a_worker_that_never_connects_is_named_at_the_deadline(present):
    with pytest.raises(PeerLost, match=f"worker {1 - present} did not connect in time"):
        SocketAllReduce.connect(_clusters(2)[present], TOKEN, 0.5)


def test_an_aligned_array_is_taken_over_by_tensorflow_without_a_copy():
    import tensorflow as tf

    array = aligned(1000)
    array[:] = 1
    tensor = tf.function(lambda: tf.numpy_function(lambda: array, [], tf.float32))()
    array[:] = 2
    assert tensor.numpy()[0] == 2
