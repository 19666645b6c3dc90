"""How does a task connect to the addresses of its cluster, and listen on its own?

`connect` and `listen` do. `close_connections_to` ends connections that TensorFlow would wait on, and
`public_address_warning` points out addresses that the internet can reach.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Container, Iterable, Mapping

from strategies.cluster import alone
from strategies.cluster.spec import ClusterSpec, Task, split_address
from strategies.errors import ClusterError
from strategies.network.security import PLAIN, Security

_ALL_INTERFACES = ("::", "0.0.0.0")


def connect(address: str, timeout_s: float) -> socket.socket:
    """A connection to an address, host:port. Raises OSError or UnicodeError where it cannot be made."""
    connection = socket.create_connection(split_address(address), timeout_s)
    if connection.getsockname() == connection.getpeername():
        # The system may choose this same port for the caller's end, where no server listens on it.
        connection.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
    return connection


def close_connections_to(address: str) -> None:
    """Shuts down all of this process's TCP connections to an address, TensorFlow's own included.

    TensorFlow waits for an answer from a stopped or unreachable task for as long as the connection
    exists, without a deadline.
    """
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(*split_address(address), type=socket.SOCK_STREAM)
        peers = {address[:2] for *_, address in found}
        for fd in map(int, os.listdir("/dev/fd")):
            with contextlib.suppress(OSError):  # Closed since, or not connected.
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    _shut_down(fd, peers)


def _shut_down(fd: int, peers: Container[tuple]) -> None:
    with socket.socket(fileno=os.dup(fd)) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            host, port = connection.getpeername()[:2]
            # gRPC uses IPv6 sockets only; they show IPv4 addresses with this prefix.
            if (host.removeprefix("::ffff:"), port) in peers:
                connection.shutdown(socket.SHUT_RDWR)


def public_address_warning(
    cluster: ClusterSpec,
    starts_servers: bool,
    hosts: Mapping[Task, str] | None = None,
    security: Security = PLAIN,
) -> str:
    """The warning that tasks have public IP addresses; "" where no task is known to have one.

    Args:
      cluster: its addresses count where they are IP addresses; names are not resolved.
      starts_servers: whether the tasks run TensorFlow's servers.
      hosts: the IP addresses that the tasks' connections show, if there are connections.
      security: where it encrypts everything that the tasks send, there is nothing to warn of.
    """
    if security.encrypts_gradients and not starts_servers:
        return ""
    found: dict[Task, str] = {}
    for task in cluster.tasks() if cluster.jobs and not cluster.is_single_task else ():
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
        else f"the tasks' {'gradients' if security.is_on else 'messages'} are not encrypted"
    )
    return f"public addresses: {names}; {meaning}. SECURITY.md explains how to use an encrypted overlay"


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False  # A name: only a connection shows its address.


def listen(cluster: ClusterSpec) -> socket.socket:
    """A listening socket on this task's own address.

    Listens on all interfaces where the address is not one of this machine's, as behind a NAT.

    Raises:
      ClusterError: the port is in use, or not permitted, or the address cannot be used.
    """
    task, address = cluster.task, cluster.address(cluster.task)
    candidates = (*_own_hosts(split_address(address)[0]), *_ALL_INTERFACES)
    field = f"`cluster.{task.type}[{task.index}]`"
    if not alone.is_written(cluster.source):  # Only --cluster changes the port.
        return _first(
            candidates, address, field, "use --cluster", "use --cluster with another port"
        )
    other = "give each task its own index and port"
    return _first(candidates, address, field, "correct it", other)


def listen_at(address: str, field: str, fix: str) -> socket.socket:
    """A listening socket on an address, host:port; on all interfaces for a name other than localhost.

    `field` and `fix` are for the error: where the address was given, and how to fix it.

    Raises:
      ClusterError: the port is in use, or not permitted, or the address cannot be used.
    """
    candidates = _own_hosts(split_address(address)[0]) or _ALL_INTERFACES
    return _first(candidates, address, field, fix)


def _first(
    candidates: Iterable[str],
    address: str,
    field: str,
    fix: str,
    other_port: str = "choose another port",
) -> socket.socket:
    for candidate in candidates:
        try:
            return _listener(candidate, split_address(address)[1])
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                state = "is in use" if error.errno == errno.EADDRINUSE else "needs more permissions"
                raise ClusterError(
                    f"{field} names a port that {state} on this machine. Received: {address!r}; "
                    f"end the program that uses it, or {other_port}."
                ) from None
    raise ClusterError(
        f"{field} names an address this machine cannot listen on. Received: {address!r}; {fix}."
    )


def _own_hosts(host: str) -> list[str]:
    # Localhost is the only name to be resolved here: on many machines their own name resolves to a
    # loopback address, which no other machine can reach.
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
