"""Are the bytes that a plan counts those that a real exchange sends?"""

import concurrent.futures
import contextlib
import itertools
import socket
from types import SimpleNamespace

import numpy as np
import pytest

from strategies.apart.coded_sum import CodedSum
from strategies.cluster.spec import Task
from strategies.collectives.all_reduce import SocketAllReduce, aligned
from strategies.collectives.leaf_runs import LeafRuns
from strategies.sync.compression import BFloat16
from trainer.estimate import traffic
from trainer.estimate.traffic import Link, Traffic

SIZE = 1003  # Divides among no number of workers evenly.


class Counting(socket.socket):
    """A connection that counts what is sent and received."""

    sent = received = 0

    def sendmsg(self, *args):
        number = super().sendmsg(*args)
        self.sent += number
        return number

    def recv_into(self, *args):
        number = super().recv_into(*args)
        self.received += number
        return number


def _exchanged(workers: int, act) -> list[tuple[int, int]]:
    """What each of N connected workers sent and received in `act(exchange, rank)`."""
    with contextlib.ExitStack() as stack:
        connections: list[dict[int, Counting]] = [{} for _ in range(workers)]
        for one, other in itertools.combinations(range(workers), 2):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                called = socket.create_connection(listener.getsockname())
                ends = (called, listener.accept()[0])
            first, second = (stack.enter_context(Counting(fileno=end.detach())) for end in ends)
            connections[one][other], connections[other][one] = first, second
        tasks = [Task("worker", rank) for rank in range(workers)]
        exchanges = [SocketAllReduce(tasks, rank, connections[rank]) for rank in range(workers)]
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            list(pool.map(act, exchanges, range(workers), timeout=60))
        return [
            (sum(c.sent for c in own.values()), sum(c.received for c in own.values()))
            for own in connections
        ]


@pytest.mark.parametrize(
    "counts",
    [
        *[(1, 1), (2, 2), (3, 1), (1, 1, 1), (2, 1, 1), (3, 3, 2), (2, 2, 2, 1, 1), (7,)],
        *[(1, 1, 1, 1), (2, 2, 2, 1), (1, 1, 2, 4), (1,) * 8],
    ],
)
def test_each_worker_of_an_all_reduce_sends_and_receives_the_bytes_that_are_counted(counts):
    runs = LeafRuns(counts)

    def act(exchange, rank):
        sums = [[np.ones(SIZE, np.float32)] for _ in runs.roots[rank]]
        exchange.sum_runs(sums, aligned(SIZE), runs)

    found = _exchanged(len(counts), act)
    counted = [traffic.all_reduce_of(rank, SIZE, runs) for rank in range(len(counts))]
    assert found == [(one.sent_bytes, one.received_bytes) for one in counted]
    most = traffic.all_reduce(SIZE, runs)
    assert most.sent_bytes == max(sent for sent, _ in found)
    assert most.received_bytes == max(received for _, received in found)


@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (2, 2, 1), (5,)])
def test_the_worker_with_the_most_coded_messages_sends_the_bytes_that_are_counted(counts):
    runs, sizes = LeafRuns(counts), [700, 300]
    leaf = np.ones(SIZE, np.float32)
    lengths = set()

    def act(exchange, rank):
        summation = CodedSum(exchange, rank, runs)
        summation.round = SimpleNamespace(
            update_sizes=sizes, size=SIZE, channel=BFloat16(), count_of=lambda rest: rest[0]
        )
        summation.total([leaf] * counts[rank])
        lengths.add(summation.update_bytes)

    found = _exchanged(len(counts), act)
    (length,) = lengths
    counted = traffic.coded(length, runs)
    assert counted.sent_bytes == max(sent for sent, _ in found)
    assert counted.received_bytes == max(received for _, received in found)


def test_a_link_takes_its_latency_for_each_phase_and_the_bytes_at_its_rate():
    link = Link(bits_per_s=8e6, latency_s=0.25)
    both = Traffic(1_000_000, 600_000, phases=2, messages=2)
    wire = 1538 / 1448  # Of Ethernet's bytes and those that TCP carries.
    assert link.seconds(both) == pytest.approx(2 * 0.25 + wire)
    in_turn = Traffic(1_000_000, 600_000, phases=2, messages=2, in_turn=True)
    assert link.seconds(in_turn) == pytest.approx(2 * 0.25 + 1.6 * wire)
