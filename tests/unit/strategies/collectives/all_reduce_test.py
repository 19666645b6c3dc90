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
from strategies.collectives import vector_shares
from strategies.collectives.all_reduce import PeerLost, SocketAllReduce, aligned
from strategies.collectives.leaf_runs import LeafRuns
from strategies.network import security
from strategies.network.flags import ALL, CONTROL
from trainer.launch.ports import free_ports

RUN = "0123456789abcdef" * 2
PLAIN = security.PLAIN
SECRET = b"a secret of many bytes"
PATIENCE_S = 100.0  # For what takes some seconds on an idle machine.


def _clusters(workers: int) -> list[ClusterSpec]:
    jobs = {"worker": tuple(f"127.0.0.1:{port}" for port in free_ports(workers))}
    return [ClusterSpec(jobs, Task("worker", index)) for index in range(workers)]


def _on_all(workers: int, act, secured=PLAIN, shares_memory=True) -> list:
    """The results of `act(exchange, rank)` on each of N connected workers."""
    clusters = _clusters(workers)

    def one(rank: int):
        with contextlib.closing(
            SocketAllReduce.connect(clusters[rank], RUN, secured, PATIENCE_S, shares_memory)
        ) as exchange:
            return act(exchange, rank)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers), timeout=2 * PATIENCE_S))


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


BY = pytest.mark.parametrize("shares_memory", [True, False], ids=["memory", "connections"])


@BY
@pytest.mark.parametrize("workers", range(1, 10))
@pytest.mark.parametrize("size", [1, 7, 101_774])
def test_every_worker_gets_the_pairwise_sum_bit_for_bit(workers, size, shares_memory):
    vectors = _vectors(workers, size)

    def act(exchange, rank):
        total = aligned(size)
        parts = np.split(vectors[rank], [size // 3, size // 3, size // 2])
        exchange.sum(parts, total)
        first = total.copy()
        exchange.sum(parts, total)  # Again, over the same connections and into the same array.
        return first, total

    expected = _pairwise(list(vectors)).tobytes()
    for totals in _on_all(workers, act, shares_memory=shares_memory):
        assert [total.tobytes() for total in totals] == [expected, expected]


@pytest.mark.parametrize(
    "counts",
    [
        *[(2, 2), (3, 1), (0, 4), (2, 1, 1), (3, 3, 2), (2, 2, 2, 1, 1), (1, 1, 1, 1, 0), (7,)],
        # One sum each of a power of two of workers: of equal runs, a shorter last one, unequal ones.
        *[(4, 4, 4, 4), (4, 4, 4, 3), (1, 1, 2, 4), (2, 2, 2, 2, 2, 2, 2, 1), (3, 3, 3, 3)],
    ],
)
def test_workers_that_hold_runs_of_leaves_get_the_sum_of_the_whole_tree(counts):
    runs, size = LeafRuns(counts), 10_007
    leaves = list(_vectors(sum(counts), size))

    def act(exchange, rank):
        run, total = runs.runs[rank], aligned(size)
        sums = runs.partial_sums(rank, leaves[run.start : run.stop])
        for _ in range(2):
            exchange.sum_runs([np.split(one, [5, 5, 600]) for one in sums], total, runs)
        return total.tobytes()

    assert _on_all(len(counts), act) == [_pairwise(leaves).tobytes()] * len(counts)


@BY
@pytest.mark.parametrize("encrypt", ["", CONTROL, ALL])
def test_vectors_larger_than_any_socket_buffer_are_added(encrypt, shares_memory):
    size = 5_000_000
    secured = security.from_secret(SECRET, encrypt) if encrypt else PLAIN

    def act(exchange, rank):
        total = aligned(size)
        exchange.sum([np.full(size, rank + 1, np.float32)], total)
        return total.min(), total.max()

    assert _on_all(2, act, secured, shares_memory) == [(3, 3)] * 2
    assert _on_all(4, act, secured, shares_memory) == [(10, 10)] * 4
    if not shares_memory:
        assert _on_all(3, act, secured) == [(6, 6)] * 3


@BY
def test_a_worker_that_falls_behind_still_reads_its_peers_last_vector(shares_memory):
    """A fast worker has written its next vector by then, and waits before the one after it."""
    size, sums = 50_000, 12

    def act(exchange, rank):
        total, found = aligned(size), []
        for number in range(sums):
            if number % 4 == rank:
                time.sleep(0.02)
            exchange.sum([np.full(size, 10 * number + rank, np.float32)], total)
            found.append((total.min(), total.max()))
        return found

    expected = [(4 * 10 * number + 6,) * 2 for number in range(sums)]
    assert _on_all(4, act, shares_memory=shares_memory) == [expected] * 4


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
@pytest.mark.parametrize("workers", [2, 3, 4])
@BY
def test_the_error_names_the_worker_that_closed_its_connection(workers, secured, shares_memory):
    size = 1_000_000

    def act(exchange, rank):
        if rank == workers - 1:
            return None
        with pytest.raises(PeerLost, match=r"worker \d was lost \(its connection closed\)") as lost:
            exchange.sum([np.ones(size, np.float32)], aligned(size))
        return str(lost.value)

    said = str(_on_all(workers, act, secured, shares_memory))
    assert f"worker {workers - 1} was lost" in said


def test_the_error_names_a_worker_that_sends_nothing_for_silence_s(monkeypatch):
    monkeypatch.setattr(SocketAllReduce, "silence_s", 0.3)
    done = threading.Event()

    def act(exchange, rank):
        if rank == 1:
            return done.wait(PATIENCE_S)
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
            assert is_waited_for.wait(PATIENCE_S)
        exchange.sum([np.ones(4, np.float32)], aligned(4))
        return before, exchange.waiting_for

    assert _on_all(2, act) == [((), ())] * 2


def test_a_connection_without_the_token_is_refused():
    first, second = _clusters(2)
    address = ("127.0.0.1", int(second.address(second.task).rpartition(":")[2]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        listening = pool.submit(SocketAllReduce.connect, second, RUN, PLAIN, PATIENCE_S)
        for said in (b"GET / HTTP/1.1\r\n\r\n" * 9, b"muster exchange " + b"0" * 39, b""):
            with _connected(address) as intruder, contextlib.suppress(OSError):
                intruder.sendall(said)
                intruder.shutdown(socket.SHUT_WR)
                assert intruder.recv(1) == b""
        with (
            contextlib.closing(SocketAllReduce.connect(first, RUN, PLAIN, PATIENCE_S)),
            contextlib.closing(listening.result(PATIENCE_S)) as connected,
        ):
            assert connected.num_workers == 2


def test_silent_connections_do_not_delay_the_workers():
    first, second = _clusters(2)
    address = ("127.0.0.1", int(second.address(second.task).rpartition(":")[2]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as silent:
        listening = pool.submit(SocketAllReduce.connect, second, RUN, PLAIN, PATIENCE_S)
        for _ in range(100):  # Each of them used to cost two seconds, 200 in all.
            silent.enter_context(_connected(address))
        with (
            contextlib.closing(SocketAllReduce.connect(first, RUN, PLAIN, PATIENCE_S)),
            contextlib.closing(listening.result(PATIENCE_S)) as connected,
        ):
            assert connected.num_workers == 2


def test_a_worker_of_another_run_is_not_accepted_as_a_peer():
    first, second = _clusters(2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        listening = pool.submit(SocketAllReduce.connect, second, RUN, PLAIN, 2)
        with pytest.raises(PeerLost, match="worker 1 did not connect in time"):
            SocketAllReduce.connect(first, RUN[::-1], PLAIN, 1)
        with pytest.raises(PeerLost, match="worker 0 did not connect in time"):
            listening.result(PATIENCE_S)


def _connected(address) -> socket.socket:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(address, PATIENCE_S)
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


def test_some_of_the_workers_add_among_themselves_over_the_same_connections():
    vectors = _vectors(4, 1000)

    def act(exchange: SocketAllReduce, rank: int):
        pair = exchange.among([rank % 2, rank % 2 + 2])
        total = np.empty(1000, np.float32)
        pair.sum([vectors[rank]], total)
        everyone = np.empty(1000, np.float32)
        exchange.sum([vectors[rank]], everyone)
        return total, everyone, pair.sent_bytes

    for rank, (total, everyone, sent) in enumerate(_on_all(4, act)):
        np.testing.assert_array_equal(total, vectors[rank % 2] + vectors[rank % 2 + 2])
        np.testing.assert_array_equal(everyone, _pairwise(list(vectors)))
        assert sent == 4000


@pytest.mark.parametrize("size", [5, 10_007, 3_000_000])
@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1), (1, 1, 1, 1), (3, 2), (2, 0, 3)])
def test_the_halves_of_an_addition_give_shares_of_the_tree_and_common_numbers(counts, size):
    """Between them each worker replaces its share, and the others get what it has put there."""
    runs, common, workers = LeafRuns(counts), 3, len(counts)
    leaves = list(_vectors(sum(counts), size))
    expected = _pairwise(leaves)
    shares = vector_shares.shares(size - common, workers)

    def act(exchange, rank):
        run, total = runs.runs[rank], aligned(size)
        sums = runs.partial_sums(rank, leaves[run.start : run.stop])
        exchange.reduce_scatter([np.split(one, [2]) for one in sums], total, runs, common)
        assert total[shares[rank]].tobytes() == expected[shares[rank]].tobytes()
        assert total[-common:].tobytes() == expected[-common:].tobytes()
        total[shares[rank]] = rank + 1
        exchange.all_gather(total, common)
        return total

    replaced = expected.copy()
    for rank, share in enumerate(shares):
        replaced[share] = rank + 1
    for total in _on_all(workers, act):
        assert total.tobytes() == replaced.tobytes()


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_an_addition_in_halves_sends_as_many_bytes_as_one_at_once(workers):
    """But for the common numbers, of which each worker sends all to each other one."""
    size, common = 100_003, 3

    def act(exchange, rank):
        parts, total = [np.ones(size, np.float32)], aligned(size)
        before = exchange.sent_bytes
        exchange.sum(parts, total)
        at_once = exchange.sent_bytes - before
        exchange.reduce_scatter([parts], total, LeafRuns((1,) * workers), common)
        exchange.all_gather(total, common)
        return at_once, exchange.sent_bytes - before - at_once

    found = _on_all(workers, act, shares_memory=False)
    at_once, in_halves = (sum(each) for each in zip(*found, strict=True))
    assert at_once == 4 * size * 2 * (workers - 1)
    assert in_halves == 4 * (size - common) * 2 * (workers - 1) + 4 * common * workers * (
        workers - 1
    )
