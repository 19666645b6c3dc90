"""Which of these addresses belong to this machine?

`own_indices` finds them, for a process that is given its cluster and not its task. It compares host names
first, which needs no network; then it resolves the names, and tries to bind their addresses.
"""

import ipaddress
import socket
import time
from collections.abc import Iterable, Sequence

from strategies.cluster.spec import split_address

_RESOLVE_TIMEOUT_S = 10.0  # For all names; each name also has the system's own timeout.


def own_indices(addresses: Sequence[str], hostname: str = "") -> list[int]:
    """The indices of the addresses, each host:port, that belong to this machine.

    They are those with its host name, if there are any; else those that resolve to one of its addresses.
    `hostname`: this machine's; empty: ask the system.

    Raises:
      ValueError: an address is not host:port.
      TimeoutError: resolving the names takes more than 10 s.
    """
    hosts = [split_address(address)[0].lower() for address in addresses]
    own = (hostname or socket.gethostname()).lower()
    if named := _indices(hosts, {own}) or _indices(map(_first_label, hosts), {_first_label(own)}):
        return named
    deadline = time.monotonic() + _RESOLVE_TIMEOUT_S
    return _indices(hosts, {host for host in dict.fromkeys(hosts) if _is_own(host, deadline)})


def _indices(hosts: Iterable[str], own: set[str]) -> list[int]:
    return [index for index, host in enumerate(hosts) if host in own]


def _first_label(host: str) -> str:
    """ "node1" of "node1.example.org", as a host name may be either. An IP address unchanged."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.partition(".")[0]
    return host


def _is_own(host: str, deadline: float) -> bool:
    if time.monotonic() > deadline:
        raise TimeoutError
    return any(_can_bind(address) for address in _resolve(host))


def _resolve(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return set()
    return {str(address[0]) for *_, address in found}


def _can_bind(address: str) -> bool:
    """Whether an IP address is one of this machine's: only those can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as candidate:
            candidate.bind((address, 0))
    except OSError:
        return False
    return True
