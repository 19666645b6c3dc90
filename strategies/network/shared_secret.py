"""Which secret do the tasks of this cluster share?

`read` takes it from `--secret_file` or MUSTER_SECRET. It is never sent: `certificate.py` derives from it
what tasks prove to each other.
"""

import os
import pathlib
from collections.abc import Mapping

from strategies.errors import ClusterError

FLAG, VARIABLE = "--secret_file", "MUSTER_SECRET"
_MIN_CHARACTERS = 16
_FIX = "make one with `head -c 32 /dev/urandom | base64`"


def read(path: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """The secret in the file, or in MUSTER_SECRET where `path` is empty; b"" where neither is set.

    Raises:
      ClusterError: the file cannot be read, or the secret is too short.
    """
    if not path:
        text = environ.get(VARIABLE, "").strip()
        return _checked(text, VARIABLE) if text else b""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ClusterError(
            f"`{FLAG}` must name a file that can be read. Received: {path!r} ({reason}); "
            "correct the path, or its permissions."
        ) from None
    return _checked(text, FLAG)


def _checked(text: str, source: str) -> bytes:
    if len(text) < _MIN_CHARACTERS:
        raise ClusterError(
            f"`{source}` must hold a secret of {_MIN_CHARACTERS} characters or more. Received: "
            f"{len(text)}; {_FIX}."
        )
    return os.fsencode(text)  # A variable may hold bytes that are not text.


def mismatch_error(received: str) -> ClusterError:
    """The error where a task does not know the secret; `received` says which task."""
    return ClusterError(
        f"`{FLAG}` must hold the same secret on every task. Received: {received}; give every task the "
        f"same file, or the same {VARIABLE}."
    )
