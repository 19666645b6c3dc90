"""Which server of buckets does the environment name, and has this machine an identity of its own?

Variables name a server. Without keys there, a machine in a cloud gets credentials from its cloud.
"""

import os
import socket
import urllib.parse

from trainer.storage.remote.errors import Faults

# A virtual machine's cloud answers there.
_METADATA_SERVER = "http://169.254.169.254"
_TIMEOUT_S = 2.0


def first(*names: str) -> str:
    """The value of the first of these variables that is set, or ""."""
    return os.environ.get(_first_name(*names), "")


def endpoint(faults: Faults, *names: str) -> str:
    """The URL of a server in the first of these variables that is set, or "". Raises BucketError."""
    url = first(*names)
    if url and not _names_a_server(url):
        raise faults.unusable(
            "opened",
            f"with the endpoint {url!r}",
            f"set {_first_name(*names)} to a URL, or unset it",
        )
    return url


def require_identity(faults: Faults, *names: str) -> None:
    """Raises BucketError if no server hands out credentials on this machine: obstore would try for long.

    Args:
      faults: words the error.
      names: the variables that can name another such server than the usual one.
    """
    parts = urllib.parse.urlsplit(first(*names) or _METADATA_SERVER)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), _TIMEOUT_S).close()
    except (OSError, ValueError):
        raise faults.no_credentials("none, and a machine without an identity of its own") from None


def _first_name(*names: str) -> str:
    return next(filter(os.environ.get, names), "")


def _names_a_server(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
