"""How is a process made slower? It is stopped for a part of every few milliseconds."""

import contextlib
import os
import pathlib
import signal
import threading
from collections.abc import Iterator

_PERIOD_S = 0.02


@contextlib.contextmanager
def throttled(pid: int, speed: float = 0.5) -> Iterator[None]:
    """Inside it the processes that this one has started run for `speed` of the time.

    Those, as the process of a task only guards the one that computes.
    """
    is_over = threading.Event()
    thread = threading.Thread(target=_throttle, args=(children(pid), speed, is_over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _throttle(pids: list[int], speed: float, is_over: threading.Event) -> None:
    while not is_over.wait(_PERIOD_S * speed):
        _send(pids, signal.SIGSTOP)
        is_over.wait(_PERIOD_S * (1 - speed))
        _send(pids, signal.SIGCONT)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    threads = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in threads for child in path.read_text().split()]
