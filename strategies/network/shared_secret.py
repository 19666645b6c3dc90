"""Which secret do the tasks of this cluster share, and how does one show that it knows it?

The secret itself never leaves the process: what travels is an HMAC of things that both sides made up
afresh. Without a secret the key is empty, and all goes the same way, which then proves nothing.
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
_WAY_OUT = "make one with `head -c 32 /dev/urandom | base64`"


def read(path: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """The secret in a file, or in MUSTER_SECRET where no file is named; empty where neither is.

    Raises:
      ClusterError: the file cannot be read, or the secret is too short to keep anyone out.
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
            "correct the path, or its rights."
        ) from None
    return _checked(text, FLAG)


def _checked(text: str, source: str) -> bytes:
    if len(text) < _MIN_CHARACTERS:
        raise ClusterError(
            f"`{source}` must hold a secret of {_MIN_CHARACTERS} characters or more. Received: "
            f"{len(text)}; {_WAY_OUT}."
        )
    return text.encode()


def proof(key: bytes, *parts: Any) -> str:
    """What only someone with this key can say of these JSON values."""
    said = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


def is_proof(claimed: Any, key: bytes, *parts: Any) -> bool:
    """Whether this is the `proof` of these values."""
    try:
        expected = proof(key, *parts)
    except RecursionError:
        return False  # Nested so deep as only a stranger would.
    said = claimed.encode(errors="replace") if isinstance(claimed, str) else b""
    return hmac.compare_digest(said, expected.encode())


def differ(received: str) -> ClusterError:
    """The error for tasks of which one does not know the secret; `received` tells which."""
    return ClusterError(
        f"`{FLAG}` must hold the same secret on every task. Received: {received}; give every task the "
        f"same file, or the same {VARIABLE}."
    )
