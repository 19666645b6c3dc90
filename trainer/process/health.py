"""Is this task making progress? (Answers health probes.) The time of a file says when it last did.

A task with the environment variable MUSTER_HEALTH_FILE touches that file, at most once a second. A task
that trains does so as its steps are done; one that serves, as long as its threads run, since it ends
with its leader; an evaluator and a sweep, each time they poll. A container's probe asks how old the
file is:

    python -m trainer.health 120      # exit code 1 if it is older than 120 s or missing

It imports nothing slow, and answers even while TensorFlow blocks the task itself.
"""

import contextlib
import math
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping

from strategies.errors import EXIT_BAD_INPUT
from trainer.process import console

VARIABLE = "MUSTER_HEALTH_FILE"
_EVERY_S = 1.0
_LIMIT_S = 120.0


class Health:
    """The health file of one task. Without a path, nothing is written."""

    def __init__(self, path: str = ""):
        self._path = path
        self._last_time = -_EVERY_S

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Health":
        return cls(environ.get(VARIABLE, ""))

    def record_progress(self) -> None:
        now = time.monotonic()
        if self._path and now - self._last_time >= _EVERY_S:
            self._last_time = now
            # The disk may be full. A run does not end because its health cannot be written.
            with contextlib.suppress(OSError):
                pathlib.Path(self._path).touch()

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Records progress as long as the body runs and this process's threads do."""
        is_over = threading.Event()

        def keep_recording() -> None:
            self.record_progress()
            while self._path and not is_over.wait(_EVERY_S):
                self.record_progress()

        threading.Thread(target=keep_recording, name="health", daemon=True).start()
        try:
            yield
        finally:
            is_over.set()


def check(path: str, limit_s: float) -> tuple[bool, str]:
    """Whether the task made progress within `limit_s`, and in words when it last did."""
    try:
        age_s = time.time() - os.stat(path).st_mtime
    except OSError as error:
        return False, f"no progress yet ({path or VARIABLE}: {error.strerror})"
    return age_s <= limit_s, f"last progress {age_s:.0f} s ago"


def main() -> int:
    console.set_up()
    typed = sys.argv[1] if sys.argv[1:] else str(_LIMIT_S)
    try:
        limit_s = float(typed)
    except ValueError:
        limit_s = math.nan
    if not limit_s > 0:
        message = f"`SECONDS` must be a number above 0. Received: {typed!r}; try {_LIMIT_S:g}."
        console.print_line(console.error_line(message))
        return EXIT_BAD_INPUT
    is_healthy, message = check(os.environ.get(VARIABLE, ""), limit_s)
    console.print_progress(message)
    return 0 if is_healthy else 1


if __name__ == "__main__":
    sys.exit(main())
