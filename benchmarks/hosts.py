"""How do the tasks of a cluster talk over slow links on one machine? Each has a host of its own.

A host is a network namespace with a cable to a switch in another one, which needs root and iproute2.
Where a rate is given, each end of a cable sends at it (tc's `tbf`), and is late by a latency where the
kernel has `netem`. A cable can be cut and repaired.
"""

import contextlib
import os
import pathlib
import subprocess

_BURST = "16kb"  # Small, as a burst is sent at once.


class HostsMissing(OSError):
    """No hosts can be made here; the message is the reason, in one line."""


class Hosts:
    """Inside of it hosts exist: their `names`, and their `addresses` in the same order.

    Args:
      count: how many.
      bits_per_s: the rate of each end of a cable; 0: as fast as this machine is.
      latency_s: one way between two hosts.

    Raises HostsMissing.
    """

    def __init__(self, count: int, bits_per_s: float = 0.0, latency_s: float = 0.0):
        self.names = [f"muster-{os.getpid()}-{place}" for place in range(count)]
        self.addresses = [f"10.214.0.{place + 1}" for place in range(count)]
        self._switch = f"muster-{os.getpid()}-switch"
        self._bits_per_s, self._latency_s = bits_per_s, latency_s

    def __enter__(self) -> "Hosts":
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for place, name in enumerate(self.names):
                self._add(place, name)
        except OSError as error:
            self.__exit__()
            raise HostsMissing(f"no network namespaces can be made: {error}") from None
        return self

    def __exit__(self, *unused: object) -> None:
        for name in (*self.names, self._switch):
            with contextlib.suppress(OSError):  # It was never added, or iproute2 is missing.
                _ip("netns", "delete", name)

    def within(self, place: int) -> list[str]:
        """The start of a command that runs on a host."""
        return ["ip", "netns", "exec", self.names[place]]

    def sent_bytes(self, place: int) -> int:
        """What a host has sent so far, with all headers."""
        counter = pathlib.Path("/sys/class/net/cable/statistics/tx_bytes")
        return int(_run(*self.within(place), "cat", str(counter)))

    def cut(self, place: int, how: str = "switch") -> None:
        """Drops all packets of a host; no connection is closed. `how`: "switch" keeps its link up."""
        if how == "switch":
            _ip("-n", self._switch, "link", "set", f"port{place}", "nomaster")
        else:
            _ip("-n", self.names[place], "link", "set", "cable", "down")

    def repair(self, place: int) -> None:
        """Reverses `cut`, however it was done."""
        _ip("-n", self._switch, "link", "set", f"port{place}", "master", "switch")
        _ip("-n", self.names[place], "link", "set", "cable", "up")

    def _add(self, place: int, name: str) -> None:
        port = f"port{place}"
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "cable", "type", "veth", "peer", "name", port)
        _ip("-n", name, "link", "set", port, "netns", self._switch)
        _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", name, "address", "add", f"{self.addresses[place]}/24", "dev", "cable")
        for device in ("cable", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        if self._bits_per_s or self._latency_s:
            for namespace, device in ((name, "cable"), (self._switch, port)):
                self._limit(namespace, device)

    def _limit(self, namespace: str, device: str) -> None:
        at = ("-n", namespace, "qdisc", "add", "dev", device)
        is_late = bool(self._latency_s) and device == "cable"
        if is_late:
            delay = f"{self._latency_s * 1e3:g}ms"
            _run("tc", *at, "root", "handle", "1:", "netem", "delay", delay)
        if self._bits_per_s:
            rate = ("tbf", "rate", f"{self._bits_per_s:.0f}bit", "burst", _BURST)
            _run(
                "tc", *at, *(("parent", "1:") if is_late else ("root",)), *rate, "latency", "500ms"
            )


def _ip(*args: str) -> None:
    _run("ip", *args)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise OSError(f"`{command[0]}` is missing; install iproute2") from None
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
