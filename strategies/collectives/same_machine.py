"""Which workers are on this machine, and may share memory?

`meet` finds them after all are connected. Each worker listens on a Unix socket with a random name in its
network namespace, not in a folder, and tells the others the name and a token over the connections of the
exchange. A process that reaches the socket is on the same kernel. It is a peer if it has the token and
is the same user, as the kernel says; then the two hand each other their files. Workers in containers or
namespaces with separate networks do not reach each other, and send their vectors.
"""

import contextlib
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable, Sequence

import numpy as np

from strategies.collectives.shared_vectors import close_files

_TIMEOUT_S = 20.0  # For a peer that has to wait for a core: all know already who has called whom.
_NAME_BYTES = _TOKEN_BYTES = 32
_CREDENTIALS = struct.Struct("3i")  # Of a Unix socket's peer: process, user, group.
_RANK = struct.Struct("!i")

Gather = Callable[[np.ndarray], list[np.ndarray]]


def meet(gather: Gather, rank: int, own: Sequence[int]) -> dict[int, list[int]]:
    """The descriptors of the files that the peers on this machine have given, by rank.

    All workers call it. Either of two that meet has the other's files, or neither.

    Args:
      gather: gives every worker the arrays of all, uint8 [n], by rank.
      own: the descriptors of this worker's files, for its peers. Every worker has the same number of
        them, or none where it has no shared memory.
    """
    token = secrets.token_bytes(_TOKEN_BYTES)
    with contextlib.ExitStack() as stack:
        listener, name = _listener(stack) if own else (None, b"")
        cards = [card.tobytes() for card in gather(_row(name.ljust(_NAME_BYTES) + token))]
        called = {}
        for peer in range(rank + 1, len(cards)):
            if one := own and _called(cards[peer], rank, own):
                called[peer] = stack.enter_context(one)
        reached = gather(_row(bytes(peer in called for peer in range(len(cards)))))
        callers = {peer for peer in range(rank) if reached[peer][rank]}
        found = _answered(listener, token, callers, own) if listener else {}
        for peer, connection in called.items():
            if descriptors := _received(connection, len(own))[1]:
                found[peer] = descriptors
        met = gather(_row(bytes(peer in found for peer in range(len(cards)))))
    for peer in [*found]:
        if not met[peer][rank]:
            close_files(found.pop(peer))
    return found


def _row(values: bytes) -> np.ndarray:
    return np.frombuffer(values, np.uint8)


def _listener(stack: contextlib.ExitStack) -> tuple[socket.socket | None, bytes]:
    """A listening socket, and its name; None and no name where there are no such sockets."""
    name = secrets.token_hex(_NAME_BYTES // 2).encode()
    try:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(b"\0" + name)
        listener.listen(socket.SOMAXCONN)
    except OSError:
        return None, b""
    return listener, name


def _called(card: bytes, rank: int, own: Sequence[int]) -> socket.socket | None:
    """The connection to the worker with this card, over which `own` was sent; None if it is elsewhere."""
    name, token = card[:_NAME_BYTES], card[_NAME_BYTES:]
    if not name.strip():
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(b"\0" + name)
        if not _is_same_user(connection):
            raise PermissionError
        socket.send_fds(connection, [token + _RANK.pack(rank)], list(own))
    except OSError:
        connection.close()
        return None
    return connection


def _answered(
    listener: socket.socket, token: bytes, callers: set[int], own: Sequence[int]
) -> dict[int, list[int]]:
    """What those callers have sent. They get `own` in return."""
    found: dict[int, list[int]] = {}
    deadline = time.monotonic() + _TIMEOUT_S
    with contextlib.suppress(OSError):
        while found.keys() != callers and (left_s := deadline - time.monotonic()) > 0:
            listener.settimeout(left_s)
            connection, _ = listener.accept()
            with connection:
                if not _is_same_user(connection):
                    continue
                said, descriptors = _received(connection, len(own))
                peer = _RANK.unpack(said[-_RANK.size :])[0] if len(said) >= _RANK.size else -1
                if peer not in callers or not secrets.compare_digest(said[: -_RANK.size], token):
                    close_files(descriptors)
                    continue
                close_files(found.pop(peer, []))
                found[peer] = descriptors
                with contextlib.suppress(OSError):  # Then the caller says that it has none.
                    socket.send_fds(connection, [b"\0"], list(own))
    return {peer: descriptors for peer, descriptors in found.items() if descriptors}


def _received(connection: socket.socket, number: int) -> tuple[bytes, list[int]]:
    """A message and the descriptors with it; none if these are not that `number`, or nothing came."""
    try:
        connection.settimeout(_TIMEOUT_S)
        said, descriptors, *_ = socket.recv_fds(connection, _TOKEN_BYTES + _RANK.size, number)
    except OSError:
        return b"", []
    if len(descriptors) != number:
        close_files(descriptors)
        return said, []
    for one in descriptors:
        os.set_inheritable(one, False)
    return said, descriptors


def _is_same_user(connection: socket.socket) -> bool:
    received = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(received)[1] == os.geteuid()
