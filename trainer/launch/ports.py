"""Which ports of this machine are free?

`free_ports` tries random ports of the loopback interface by binding them for a moment. A port that it has
found is reserved among the processes of this program, as its task binds it only seconds later.
"""

import collections
import errno
import os
import pathlib
import random
import socket
import sys

from strategies.errors import InputError

HOST = "127.0.0.1"
_MAX_RESERVED = 256  # The newest ones. Older ones are bound by now, or never will be.
_reserved: collections.deque[int] = collections.deque()  # Open descriptors.


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that are not in use now, and that no other call has found lately.

    They are below the range from which the system picks ports for outgoing connections, so no such
    connection can take one before its task does.

    Raises InputError where too few are free.
    """
    ports: list[int] = []
    candidates = random.sample(range(10_000, _first_ephemeral_port()), 2_000)
    while len(ports) < count and candidates:
        port = candidates.pop()
        if _is_free(port) and _reserve(port):
            ports.append(port)
    if len(ports) < count:
        raise InputError(f"`launch` found too few free ports. Received: {len(ports)} of {count}.")
    return ports


def _first_ephemeral_port() -> int:
    try:
        text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return 32_768
    return max(int(text.split()[0]), 20_000)


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> bool:
    """False where it is reserved: by a name that Linux frees with the process that has bound it."""
    if sys.platform != "linux":
        return True
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0muster-port-{port}".encode())
    except OSError as error:
        holder.close()
        return error.errno != errno.EADDRINUSE
    _reserved.append(holder.detach())
    if len(_reserved) > _MAX_RESERVED:
        os.close(_reserved.popleft())
    return True
