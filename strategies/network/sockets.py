"""How does a task reach the addresses in TF_CONFIG, and take its own?"""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterable, Mapping

from strategies.cluster import slurm
from strategies.cluster.spec import ClusterSpec, Task, split_address
from strategies.errors import ClusterError

_ALL_INTERFACES = ("::", "0.0.0.0")


def connect(address: str, timeout_s: float) -> socket.socket:
    """A connection to an address, host:port. Raises OSError or UnicodeError where there is none."""
    connection = socket.create_connection(split_address(address), timeout_s)
    if connection.getsockname() == connection.getpeername():
        # On one machine a call to a port nobody listens on can be given that port, and meet itself.
        connection.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
    return connection


def cut(address: str) -> None:
    """Ends this process's connections to an address, whoever in it made them.

    TensorFlow waits for an answer from a stopped or unreachable task for as long as the connection
    lasts, and knows no deadline.
    """
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(*split_address(address), type=socket.SOCK_STREAM)
        ends = {place[:2] for *_, place in found}
        for fd in map(int, os.listdir("/dev/fd")):
            with contextlib.suppress(OSError):  # Closed since it was listed, or not connected.
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    _shut_down(fd, ends)


def _shut_down(fd: int, ends: set[tuple[str, int]]) -> None:
    with socket.socket(fileno=os.dup(fd)) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            host, port = connection.getpeername()[:2]
            # gRPC's sockets are all of IPv6, and write the addresses of IPv4 so.
            if (host.removeprefix("::ffff:"), port) in ends:
                connection.shutdown(socket.SHUT_RDWR)


def exposed(
    cluster: ClusterSpec, starts_servers: bool, hosts: Mapping[Task, str] | None = None
) -> str:
    """What it means that tasks have public addresses, or "" where none is known to have one.

    `hosts`: the addresses that their connections show, where TF_CONFIG gives names.
    """
    found = {}
    for task in cluster.tasks() if cluster.jobs and not cluster.is_alone else ():
        host = split_address(cluster.address(task))[0]
        for one in (host, (hosts or {}).get(task, "")):
            if _is_public(one):
                found.setdefault(task, one)
    if not found:
        return ""
    names = ", ".join(f"{task} ({host})" for task, host in found.items())
    meaning = (
        "TensorFlow's servers execute whatever anyone who reaches them sends, and encrypt nothing"
        if starts_servers
        else "what the tasks say to each other is not encrypted"
    )
    return f"public addresses: {names}; {meaning}. SECURITY.md tells how to run over an overlay"


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False  # A name: it shows once there is a connection.


def listen(cluster: ClusterSpec) -> socket.socket:
    """A listener on this task's own address. Raises ClusterError where the port cannot be had.

    An address that is not this machine's own, as behind a NAT, is listened for on all interfaces.
    """
    task, address = cluster.task, cluster.address(cluster.task)
    candidates = (*_own_hosts(split_address(address)[0]), *_ALL_INTERFACES)
    field = f"`cluster.{task.type}[{task.index}]`"
    if cluster.source == slurm.PLACE:  # Its ports follow from the step, and are nobody's to choose.
        return _first(
            candidates, address, field, "give --cluster", "give --cluster with another port"
        )
    return _first(candidates, address, field, "correct it")


def listen_at(address: str, field: str, way_out: str) -> socket.socket:
    """A listener on this very address, or on all interfaces for a name other than localhost.

    Raises ClusterError, which calls the address `field`, where it cannot be had.
    """
    candidates = _own_hosts(split_address(address)[0]) or _ALL_INTERFACES
    return _first(candidates, address, field, way_out)


def _first(
    candidates: Iterable[str],
    address: str,
    field: str,
    way_out: str,
    other_port: str = "choose another port",
) -> socket.socket:
    for candidate in candidates:
        try:
            return _listener(candidate, split_address(address)[1])
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                held = "is in use" if error.errno == errno.EADDRINUSE else "needs more rights"
                raise ClusterError(
                    f"{field} names a port that {held} on this machine. Received: {address!r}; "
                    f"end the program that holds it, or {other_port}."
                ) from None
    raise ClusterError(
        f"{field} names an address this machine cannot listen on. Received: {address!r}; {way_out}."
    )


def _own_hosts(host: str) -> list[str]:
    # Of names only localhost is bound as such: many machines take their own name for a loopback
    # address, where no other machine would reach them.
    if host == "localhost":
        return ["127.0.0.1"]
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return []


def _listener(host: str, port: int) -> socket.socket:
    if ":" not in host:
        return socket.create_server((host, port))
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=both)
