"""Which of these addresses is this machine's own?

This is needed where a cluster is given, but not which of its tasks this process is. Names are compared
first, which costs nothing; then addresses.
"""

import ipaddress
import socket
import time
from collections.abc import Iterable, Sequence

from strategies.cluster.spec import split_address

_LOOK_UP_S = 10.0  # In all. The system bounds each name by itself, at some seconds.


def places(addresses: Sequence[str], hostname: str = "") -> list[int]:
    """Where among the addresses this machine's own stand: by its name if one does so, else by address.

    Raises:
      TimeoutError: names take too long to be looked up.
    """
    hosts = [split_address(address)[0].lower() for address in addresses]
    own = (hostname or socket.gethostname()).lower()
    if named := _where(hosts, {own}) or _where(map(_first_label, hosts), {_first_label(own)}):
        return named
    deadline = time.monotonic() + _LOOK_UP_S
    return _where(hosts, {host for host in dict.fromkeys(hosts) if _is_here(host, deadline)})


def _where(hosts: Iterable[str], own: set[str]) -> list[int]:
    return [place for place, host in enumerate(hosts) if host in own]


def _first_label(host: str) -> str:
    """ "node1" of "node1.example.org": a machine may know itself by either. An address is whole."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.partition(".")[0]
    return host


def _is_here(host: str, deadline: float) -> bool:
    if time.monotonic() > deadline:
        raise TimeoutError
    return any(_can_bind(address) for address in _looked_up(host))


def _looked_up(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return set()
    return {str(place[0]) for *_, place in found}


def _can_bind(address: str) -> bool:
    """Whether an address is one of this machine's: only those can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as candidate:
            candidate.bind((address, 0))
    except OSError:
        return False
    return True
