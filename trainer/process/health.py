"""Does a task come on, for who looks from outside of its process?

A task that is given MUSTER_HEALTH_FILE touches that file, at most once a second, when it comes on: who
trains, with the steps; who serves, while its threads run, as it ends with its leader; an evaluator and a
sweep, when they look around. A container's health check asks how long ago that was:

    python -m trainer.health 120      # exit code 1 if it was more than 120 s ago, or never

It imports nothing that is slow, and can be asked while TensorFlow keeps the task itself from answering.
"""

import contextlib
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping

VARIABLE = "MUSTER_HEALTH_FILE"
_EVERY_S = 1.0
_LIMIT_S = 120.0


class Health:
    """The file of one task; without a path there is none, and nothing is done."""

    def __init__(self, path: str = ""):
        self._path = path
        self._noted = -_EVERY_S

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Health":
        return cls(environ.get(VARIABLE, ""))

    def note(self) -> None:
        """The task has come on."""
        now = time.monotonic()
        if self._path and now - self._noted >= _EVERY_S:
            self._noted = now
            with contextlib.suppress(OSError):  # A disk may be full; no run ends for its health.
                pathlib.Path(self._path).touch()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Notes, for as long as the body runs, that the threads of this process do."""
        is_over = threading.Event()

        def keep() -> None:
            self.note()
            while self._path and not is_over.wait(_EVERY_S):
                self.note()

        threading.Thread(target=keep, name="health", daemon=True).start()
        try:
            yield
        finally:
            is_over.set()


def look(path: str, limit_s: float) -> tuple[bool, str]:
    """Whether the task came on within `limit_s`, and when it last did, in words."""
    try:
        age_s = time.time() - os.stat(path).st_mtime
    except OSError as error:
        return False, f"no sign yet of a task that comes on ({path or VARIABLE}: {error.strerror})"
    return age_s <= limit_s, f"came on {age_s:.0f} s ago"


def main() -> int:
    limit_s = float(sys.argv[1]) if sys.argv[1:] else _LIMIT_S
    is_well, found = look(os.environ.get(VARIABLE, ""), limit_s)
    print(found)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
