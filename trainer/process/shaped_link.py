"""How does this program train on a slow network, on one machine?

`enter` replaces the process by the same command in a network namespace of its own, whose loopback has a
rate and a delay. All tasks that it starts are there too, and share that one link; nothing outside can be
reached. It needs Linux, `unshare` and iproute2, and for a delay the kernel's netem.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence

from strategies.errors import InputError

_ENTERED = "MUSTER_LINK"  # Says to the process inside that it is there.
_FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9}
_LEAST_BURST = 256 * 1024  # Bytes. A packet of the loopback has up to 64 kB.


def commands(link: str) -> list[list[str]]:
    """What shapes the loopback of a namespace. Raises InputError for text that describes no link.

    Args:
      link: as in 100mbit or 100mbit,5ms.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})([kmg])bit(?:,([1-9]\d{0,3})ms)?", link)
    if not found:
        raise InputError(
            f"`--link` must be a rate, and perhaps a delay. Received: {json.dumps(link)}; write "
            "--link=100mbit or --link=100mbit,5ms."
        )
    number, unit, delay_ms = found.groups()
    # A token bucket is filled about every 10 ms at worst.
    burst = max(_LEAST_BURST, int(int(number) * _FACTORS[unit] / 8 / 100))
    rate = shlex.split(f"tbf rate {number}{unit}bit burst {burst} latency 200ms")
    delayed = [["tc", *"qdisc add dev lo root handle 1: netem delay".split(), f"{delay_ms}ms"]]
    under = ["root"] if not delay_ms else ["parent", "1:"]
    return [
        ["ip", "link", "set", "lo", "up"],
        *(delayed if delay_ms else []),
        ["tc", "qdisc", "add", "dev", "lo", *under, *rate],
    ]


def is_entered(environ: Mapping[str, str]) -> bool:
    """Whether this process is behind such a link."""
    return _ENTERED in environ


def enter(link: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Returns where this process is behind the link already; else it becomes one that is.

    Args:
      link: as for `commands`.
      arguments: of this program.
      environ: of this process.

    Raises:
      InputError: the text describes no link, or this machine cannot make it.
    """
    shaping = " && ".join(map(shlex.join, commands(link)))
    if environ.get(_ENTERED) == link:
        return
    inside = ["unshare", "--map-root-user", "--net", "sh", "-c"]
    try:
        tried = subprocess.run([*inside, shaping], capture_output=True, text=True, check=False)
        reason = " ".join(tried.stderr.split()) if tried.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        raise InputError(
            f"`--link` needs a network namespace and its traffic control ({reason}). Received: {link}; "
            "leave it out, or the delay where netem is missing."
        )
    again = [sys.executable, "-m", "trainer", *arguments]
    os.execvpe(
        inside[0], [*inside, f'{shaping} && exec "$@"', "sh", *again], {**environ, _ENTERED: link}
    )
