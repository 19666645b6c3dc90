"""How do the tasks of one machine prepare data only once?

The first holds a file lock while it prepares; the others wait for it, up to a deadline. The operating
system releases the lock if that task dies.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from absl import logging

from strategies.errors import os_reason
from trainer.data.dataset import DataError


@contextlib.contextmanager
def locked(path: Path, what: str, timeout_s: float) -> Iterator[None]:
    """Held by one task of this machine at a time. Raises DataError at the deadline.

    Args:
      path: the file; its folder is made.
      what: is prepared, for messages.
      timeout_s: seconds to wait.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise DataError(
            f"cannot write to {path.parent} ({os_reason(error)}), to prepare {what} there; give "
            "another folder with --config.data.dir=DIR."
        ) from None
    deadline = time.monotonic() + timeout_s
    with file:
        while not _try_lock(file, what):
            if time.monotonic() > deadline:
                raise DataError(
                    f"another task has locked {path} for {timeout_s:g} s; if it is still preparing "
                    f"{what}, raise `data.download_timeout_s`."
                )
            time.sleep(0.1)
        yield


def _try_lock(file: IO, what: str) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        logging.warning("%s cannot be locked here; tasks may prepare %s twice", file.name, what)
    return True
