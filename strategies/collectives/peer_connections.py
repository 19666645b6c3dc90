"""How does each worker get a connection to each other one?

`connect_trainers` makes one for each pair, after the roll call: a task calls the tasks of higher rank,
and both prove who they are.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Sequence

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import Resumable
from strategies.network.connection import ProtocolError
from strategies.network.handshake import Handshake, Peer
from strategies.network.listener import AuthenticatingListener
from strategies.network.security import Security
from strategies.network.sockets import connect, listen

_RETRY_EVERY_S = 0.1
_CONNECT_TIMEOUT_S = 2.0


class PeerLost(Resumable):
    """A connection to another worker was closed, or the worker sent nothing in time."""


def connect_trainers(
    cluster: ClusterSpec, run: str, security: Security, timeout_s: float
) -> tuple[Sequence[Task], int, dict[int, socket.socket]]:
    """The tasks that train, the rank of this one, and its connections to the others by their ranks.

    Raises PeerLost and ClusterError as `SocketAllReduce.connect` does, whose arguments these are.
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
    return tasks, rank, connections


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
