"""Which secret do the tasks of this cluster share, and how does a task prove that it knows it?

`read` takes it from `--secret_file` or MUSTER_SECRET. The secret itself is never sent: a `proof` is an
HMAC of values that both sides chose at random. Without a secret the key is empty, and the same messages
prove nothing.
"""

import hashlib
import hmac
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

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
    return text.encode()


def proof(key: bytes, *parts: Any) -> str:
    """HMAC-SHA256 of these JSON values, in hexadecimal: only a holder of the key can compute it."""
    message = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def is_proof(claimed: Any, key: bytes, *parts: Any) -> bool:
    """Whether `claimed`, which may be anything, is the `proof` of these values."""
    try:
        expected = proof(key, *parts)
    except RecursionError:
        return False  # Nested deeper than any message of this program.
    received = claimed.encode(errors="replace") if isinstance(claimed, str) else b""
    return hmac.compare_digest(received, expected.encode())


def mismatch_error(received: str) -> ClusterError:
    """The error where a task does not know the secret; `received` says which task."""
    return ClusterError(
        f"`{FLAG}` must hold the same secret on every task. Received: {received}; give every task the "
        f"same file, or the same {VARIABLE}."
    )
