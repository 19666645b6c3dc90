"""How do the workers of a cluster add their vectors?

`SocketAllReduce` adds them over one connection between each two workers, made once after the roll call.
TensorFlow's collectives take milliseconds for the gradients of a small net; this takes little more than
the transfer of the bytes. The sum is the same on every worker and in every run: its terms are added
pairwise in the order of the ranks, ((0 + 1) + (2 + 3)), not in the order of arrival.

Two workers swap their vectors. More than two divide the work: each adds one part of all vectors and sends
the sum to the others, so that a worker sends about two vectors, however many workers there are.
"""

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Mapping, Sequence

import numpy as np

from strategies.cluster.spec import ClusterSpec, Task
from strategies.collectives.tree_sum import tree_sum
from strategies.errors import Resumable
from strategies.network.connection import WOULD_BLOCK, ProtocolError
from strategies.network.handshake import Handshake, Peer
from strategies.network.listener import AuthenticatingListener
from strategies.network.security import Security
from strategies.network.sockets import connect, listen

_BUFFER_BYTES = 4 << 20
_ALIGNMENT = 64  # TensorFlow uses an array without copying it if it is aligned so.
_RETRY_EVERY_S = 0.1
_CONNECT_TIMEOUT_S = 2.0

Views = list[memoryview]


class PeerLost(Resumable):
    """A connection to another worker was closed, or the worker sent nothing in time."""


class SocketAllReduce:
    """This worker's connections to all others. Not thread-safe, except for `waiting_for`.

    `silence_s`: how long to wait for a live peer that sends nothing. The membership notices sooner when a
    peer is dead or stopped. `waiting_for`: the peers it waits for now, for any thread to read.
    """

    silence_s = 600.0
    waiting_for: tuple[Task, ...] = ()

    def __init__(self, tasks: Sequence[Task], rank: int, connections: Mapping[int, socket.socket]):
        self._tasks = tasks
        self._rank = rank
        self._connections = dict(connections)
        for connection in self._connections.values():
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                connection.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER_BYTES)
            connection.setblocking(False)

    @classmethod
    def connect(
        cls, cluster: ClusterSpec, run: str, security: Security, timeout_s: float
    ) -> "SocketAllReduce":
        """Connects the tasks that train. Each of them calls this.

        Args:
          cluster: a task listens on its own address there, and calls the tasks of higher rank.
          run: a name that only this run's tasks know. A connection without it is refused.
          security: proves who connects, and encrypts what follows where it encrypts gradients.
          timeout_s: seconds until all are connected.

        Raises:
          PeerLost: a worker did not connect in time.
          ClusterError: this task cannot listen on its own address.
        """
        tasks = cluster.trainers()
        rank = tasks.index(cluster.task)
        deadline = time.monotonic() + timeout_s
        handshake = Handshake(
            security,
            {"rank": rank, "run": run},
            lambda peer: peer.get("run") == run and type(peer.get("rank")) is int,
            recv_bytes=1,  # What follows the handshake belongs to the all-reduce.
        )
        connections: dict[int, socket.socket] = {}
        with listen(cluster) as listener:
            for peer in range(rank + 1, len(tasks)):
                address = cluster.address(tasks[peer])
                connections[peer] = _call(address, handshake, peer, tasks[peer], deadline)
            connections |= _called(listener, handshake, rank, tasks, deadline)
        return cls(tasks, rank, connections)

    @property
    def num_workers(self) -> int:
        return len(self._tasks)

    def sum(self, parts: Sequence[np.ndarray], total: np.ndarray) -> None:
        """Fills `total` with the sum over all workers of their concatenated parts.

        Args:
          parts: contiguous float32 arrays of n numbers in all, of the same sizes on every worker, each of
            which must call this.
          total: float32 [n].

        Raises:
          PeerLost: a peer closed its connection, or sent nothing for `silence_s`.
        """
        if self.num_workers == 2:
            return self._swap(parts, total)
        np.concatenate([part.ravel() for part in parts], out=total)
        bounds = np.linspace(0, len(total), self.num_workers + 1).astype(int)
        shares = [slice(start, end) for start, end in zip(bounds, bounds[1:], strict=False)]
        mine = shares[self._rank]
        terms = [np.empty(mine.stop - mine.start, np.float32) for _ in self._tasks]
        terms[self._rank] = total[mine]
        self._move(
            {peer: [_bytes(total[shares[peer]])] for peer in self._connections},
            {peer: _bytes(terms[peer]) for peer in self._connections},
        )
        total[mine] = tree_sum(terms)
        self._move(
            {peer: [_bytes(total[mine])] for peer in self._connections},
            {peer: _bytes(total[shares[peer]]) for peer in self._connections},
        )

    def broadcast(self, values: np.ndarray) -> None:
        """Fills `values`, contiguous and of the same shape on every worker, with those of rank 0.

        Raises PeerLost as `sum` does.
        """
        if self._rank == 0:
            self._move({peer: [_bytes(values)] for peer in self._connections}, {})
        else:
            self._move({}, {0: _bytes(values)})

    def close(self) -> None:
        """Closes the connections; the other workers get PeerLost."""
        for connection in self._connections.values():
            connection.close()

    def _swap(self, parts: Sequence[np.ndarray], total: np.ndarray) -> None:
        (peer,) = self._connections
        self._move({peer: [_bytes(part) for part in parts]}, {peer: _bytes(total)})
        start = 0
        for part in parts:  # Of two terms the order does not matter.
            total[start : start + part.size] += part.ravel()
            start += part.size

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


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).data.cast("B")


def _write(connection: socket.socket, views: Views) -> int:
    """Sends some of it, and returns how many bytes; TLS takes one array at a time."""
    if not isinstance(connection, ssl.SSLSocket):
        return connection.sendmsg(views)
    return connection.send(next(view for view in views if len(view)))


def _call(
    address: str, handshake: Handshake, peer: int, task: Task, deadline: float
) -> socket.socket:
    while (left_s := deadline - time.monotonic()) > 0:
        # A peer answers only once it has made its own calls, which may take until the deadline.
        with contextlib.suppress(OSError, UnicodeError, EOFError, ProtocolError):
            connection = connect(address, min(left_s, _CONNECT_TIMEOUT_S))
            met = handshake.call(connection, deadline)
            if met.introduction["rank"] == peer:
                return _for_gradients(met, handshake.security, deadline)
            met.link.close()
        time.sleep(_RETRY_EVERY_S)
    raise _absent([task])


def _called(
    listener: socket.socket,
    handshake: Handshake,
    rank: int,
    tasks: Sequence[Task],
    deadline: float,
) -> dict[int, socket.socket]:
    """The connections from all tasks of lower rank, by rank."""
    connections: dict[int, socket.socket] = {}
    with AuthenticatingListener(listener, handshake) as callers:
        while missing := set(range(rank)) - connections.keys():
            met = callers.next_caller(deadline)
            if not met:
                raise _absent([tasks[peer] for peer in sorted(missing)])
            if met.introduction["rank"] not in missing:
                met.link.close()
                continue
            with contextlib.suppress(OSError):  # It was lost meanwhile.
                one = _for_gradients(met, handshake.security, deadline)
                connections[met.introduction["rank"]] = one
    return connections


def _for_gradients(peer: Peer, security: Security, deadline: float) -> socket.socket:
    """The connection of an authenticated peer, without TLS where gradients are not encrypted.

    Both sides end TLS with its own, authenticated, message; the connection stays the same.
    """
    connection = peer.link.detach()
    if not isinstance(connection, ssl.SSLSocket) or security.encrypts_gradients:
        return connection
    try:
        connection.settimeout(max(_RETRY_EVERY_S, deadline - time.monotonic()))
        connection.unwrap()
        return socket.socket(fileno=connection.detach())
    except BaseException:
        connection.close()
        raise


def _absent(tasks: Sequence[Task]) -> PeerLost:
    names = " and ".join(str(task) for task in tasks)
    return PeerLost(
        f"{names} did not connect in time for the all-reduce; run the same command again.",
        task=tasks[0],
    )
