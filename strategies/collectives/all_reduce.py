"""How do the workers of a cluster add their vectors?

`SocketAllReduce` adds them over one connection between each two workers, made once after the roll call.
TensorFlow's collectives take milliseconds for the gradients of a small net; this takes little more than
the transfer of the bytes. The sum is the same on every worker and in every run: its terms are added
pairwise in the order of the ranks, ((0 + 1) + (2 + 3)), not in the order of arrival. A worker that holds
several terms of a larger tree sends its partial sums in that tree (`leaf_runs.py`), one where it can.

2, 4, 8, … workers with a vector each add in pairs (`pairwise.py`), through shared memory where they are
on one machine. Others divide the addition: each adds a part of all vectors, which the others send it, and
sends them its sum. Either way a worker with one vector sends about two, however many workers there are.
"""

import select
import socket
import ssl
import time
from collections.abc import Mapping, Sequence

import numpy as np

from strategies.cluster.spec import ClusterSpec, Task
from strategies.collectives import halving, same_machine, shared_vectors, vector_shares
from strategies.collectives.leaf_runs import LeafRuns
from strategies.collectives.pairwise import PairwiseSum
from strategies.collectives.peer_connections import PeerLost, connect_trainers
from strategies.collectives.shared_vectors import SharedVectors
from strategies.collectives.vector_shares import Views
from strategies.collectives.vector_shares import as_bytes as _bytes
from strategies.network.connection import WOULD_BLOCK
from strategies.network.security import Security

_BUFFER_BYTES = 4 << 20
_PIECE = 1 << 18  # Numbers of a share that are in memory of each peer at a time.
_ALIGNMENT = 64  # TensorFlow uses an array without copying it if it is aligned so.


class SocketAllReduce:
    """This worker's connections to all others. Not thread-safe, except for `waiting_for`.

    `silence_s`: how long to wait for a live peer that sends nothing. The membership notices sooner when a
    peer is dead or stopped. `waiting_for`: the peers it waits for now, for any thread to read. `seconds`:
    those that `sum` has taken so far, with the waiting for slower workers. `sent_bytes`: those it sent.
    """

    silence_s = 600.0
    waiting_for: tuple[Task, ...] = ()
    seconds = 0.0
    sent_bytes = 0

    def __init__(self, tasks: Sequence[Task], rank: int, connections: Mapping[int, socket.socket]):
        self._tasks = tasks
        self._rank = rank
        self._connections = dict(connections)
        for connection in self._connections.values():
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                connection.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER_BYTES)
            connection.setblocking(False)
        self._pairs = PairwiseSum(self._move, rank, len(tasks))

    @classmethod
    def connect(
        cls,
        cluster: ClusterSpec,
        run: str,
        security: Security,
        timeout_s: float,
        shares_memory: bool = True,
    ) -> "SocketAllReduce":
        """Connects the tasks that train. Each of them calls this.

        Args:
          cluster: a task listens on its own address there, and calls the tasks of higher rank.
          run: a name that only this run's tasks know. A connection without it is refused.
          security: proves who connects, and encrypts what follows where it encrypts gradients.
          timeout_s: seconds until all are connected.
          shares_memory: whether workers on one machine read each other's vectors in shared memory.

        Raises:
          PeerLost: a worker did not connect in time.
          ClusterError: this task cannot listen on its own address.
        """
        tasks, rank, connections = connect_trainers(cluster, run, security, timeout_s)
        exchange = cls(tasks, rank, connections)
        silence_s, exchange.silence_s = exchange.silence_s, timeout_s
        exchange.share_memory(shares_memory)
        exchange.silence_s = silence_s
        return exchange

    @classmethod
    def alone(cls, task: Task) -> "SocketAllReduce":
        """That of a single worker, which has nobody to connect to."""
        return cls([task], 0, {})

    def among(self, ranks: Sequence[int]) -> "SocketAllReduce":
        """That of some of the workers, this one among them, over the same connections.

        `ranks`: theirs here; each has its place in `ranks` as its rank there.
        """
        others = {place: self._connections.get(rank) for place, rank in enumerate(ranks)}
        connections = {place: one for place, one in others.items() if one}
        tasks = [self._tasks[rank] for rank in ranks]
        return SocketAllReduce(tasks, ranks.index(self._rank), connections)

    @property
    def num_workers(self) -> int:
        return len(self._tasks)

    def share_memory(self, wanted: bool = True) -> None:
        """Has the workers of this machine read each other's vectors in memory, where they add in pairs.

        All workers call it, once; those that do not want it send their vectors. Raises PeerLost as `sum`.
        """
        if not self._connections or not halving.is_possible(self.num_workers):
            return
        own = shared_vectors.files() if wanted else []
        everyone = (1,) * self.num_workers
        found = same_machine.meet(
            lambda row: [rows[0] for rows in self.gather(row[np.newaxis], everyone)],
            self._rank,
            own,
        )
        self._pairs.memory = SharedVectors(own, found)

    def sum(self, parts: Sequence[np.ndarray], total: np.ndarray) -> None:
        """Fills `total` with the sum over all workers of their concatenated parts.

        Args:
          parts: contiguous float32 arrays of n numbers in all, of the same sizes on every worker, each of
            which must call this.
          total: float32 [n].

        Raises:
          PeerLost: a peer closed its connection, or sent nothing for `silence_s`.
        """
        self.sum_runs([parts], total, LeafRuns((1,) * self.num_workers))

    def sum_runs(
        self, sums: Sequence[Sequence[np.ndarray]], total: np.ndarray, runs: LeafRuns
    ) -> None:
        """Fills `total` with the `tree_sum` of leaves of which each worker holds a run.

        Args:
          sums: this worker's partial sums, one for each of its `runs.roots`, each of them the parts of a
            vector, as for `sum`.
          total: float32 [n].
          runs: the same on every worker.

        Raises PeerLost as `sum` does.
        """
        began = time.perf_counter()
        if self.num_workers == 2 and all(len(roots) == 1 for roots in runs.roots):
            self._pairs.swap(sums[0], total)
        elif halving.is_possible(self.num_workers) and runs.is_level:
            self._pairs.halve_and_double(sums[0], total)
        else:
            vector_shares.reduce_scatter(self._move, self._rank, sums, total, runs)
            vector_shares.all_gather(self._move, self._rank, total, self.num_workers)
        self.seconds += time.perf_counter() - began

    def reduce_scatter(
        self,
        sums: Sequence[Sequence[np.ndarray]],
        total: np.ndarray,
        runs: LeafRuns,
        common: int = 0,
    ) -> None:
        """The first half of an addition: see `vector_shares.reduce_scatter`. Raises PeerLost."""
        began = time.perf_counter()
        vector_shares.reduce_scatter(self._move, self._rank, sums, total, runs, common, _PIECE)
        self.seconds += time.perf_counter() - began

    def all_gather(self, total: np.ndarray, common: int = 0) -> None:
        """The second half of an addition: see `vector_shares.all_gather`. Raises PeerLost."""
        began = time.perf_counter()
        vector_shares.all_gather(self._move, self._rank, total, self.num_workers, common)
        self.seconds += time.perf_counter() - began

    def broadcast(self, values: np.ndarray) -> None:
        """Fills `values`, contiguous and of the same shape on every worker, with those of rank 0.

        Raises PeerLost as `sum` does.
        """
        if self._rank == 0:
            self._move({peer: [_bytes(values)] for peer in self._connections}, {})
        else:
            self._move({}, {0: _bytes(values)})

    def gather(self, rows: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
        """The rows of all workers, by rank. Rows are contiguous arrays of one shape and type.

        `counts`: how many rows each worker has. Raises PeerLost as `sum` does.
        """
        found = [np.empty((count, *rows.shape[1:]), rows.dtype) for count in counts]
        found[self._rank] = rows
        self._move(
            {peer: [_bytes(rows)] for peer in self._connections},
            {peer: _bytes(found[peer]) for peer in self._connections},
        )
        return found

    def send(self, peer: int, message: bytes) -> None:
        """Sends it to the worker of this rank, which must call `receive`. Raises PeerLost as `sum`."""
        length = np.array([len(message)], np.int64)
        self._move({peer: [_bytes(length), memoryview(message)]}, {})

    def receive(self, peer: int) -> bytes:
        """What the worker of this rank sends. Raises PeerLost as `sum` does."""
        length = np.empty(1, np.int64)
        self._move({}, {peer: _bytes(length)})
        message = bytearray(length[0])
        self._move({}, {peer: memoryview(message)})
        return bytes(message)

    def close(self) -> None:
        """Closes the connections; the other workers get PeerLost."""
        for connection in self._connections.values():
            connection.close()
        self._pairs.memory.close()

    def _move(self, outgoing: Mapping[int, Views], incoming: Mapping[int, memoryview]) -> None:
        """Sends and receives all of it, in the order that the connections allow."""
        outgoing = {peer: views for peer, views in outgoing.items() if any(views)}
        incoming = {peer: view for peer, view in incoming.items() if len(view)}
        while outgoing or incoming:
            has_moved = False
            for peer in list(outgoing):
                has_moved |= self._send(peer, outgoing)
            for peer in list(incoming):
                has_moved |= self._receive(peer, incoming)
            if not has_moved:
                self._await(outgoing, incoming)

    def _send(self, peer: int, outgoing: dict[int, Views]) -> bool:
        views = outgoing[peer]
        try:
            sent = _write(self._connections[peer], views)
        except WOULD_BLOCK:
            return False
        except OSError as error:
            raise self._lost(peer) from error
        self.sent_bytes += sent
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if views:
            views[0] = views[0][sent:]
        else:
            del outgoing[peer]
        return True

    def _receive(self, peer: int, incoming: dict[int, memoryview]) -> bool:
        try:
            received = self._connections[peer].recv_into(incoming[peer])
        except WOULD_BLOCK:
            return False
        except OSError as error:
            raise self._lost(peer) from error
        if not received:
            raise self._lost(peer)
        incoming[peer] = incoming[peer][received:]
        if not len(incoming[peer]):
            del incoming[peer]
        return True

    def _await(self, outgoing: Mapping[int, Views], incoming: Mapping[int, memoryview]) -> None:
        readers = [self._connections[peer] for peer in incoming]
        writers = [self._connections[peer] for peer in outgoing]
        self.waiting_for = tuple(self._tasks[peer] for peer in sorted({*outgoing, *incoming}))
        if not any(select.select(readers, writers, [], self.silence_s)):
            names = " and ".join(map(str, self.waiting_for))
            raise PeerLost(
                f"{names} sent nothing in the all-reduce for {self.silence_s:g} s; "
                "run the same command again to resume.",
                task=self.waiting_for[0],
            )
        self.waiting_for = ()

    def _lost(self, peer: int) -> PeerLost:
        return PeerLost(
            f"{self._tasks[peer]} was lost (its connection closed); "
            "run the same command again to resume.",
            task=self._tasks[peer],
        )


def aligned(size: int) -> np.ndarray:
    """float32 [size], uninitialised, where TensorFlow can use it without a copy."""
    room = np.empty(size * 4 + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size * 4].view(np.float32)


def _write(connection: socket.socket, views: Views) -> int:
    """Sends some of it, and returns how many bytes; TLS takes one array at a time."""
    if not isinstance(connection, ssl.SSLSocket):
        return connection.sendmsg(views)
    return connection.send(next(view for view in views if len(view)))
