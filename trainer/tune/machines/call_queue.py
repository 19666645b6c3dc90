"""In which order do the clients' calls come before the search?

One at a time, and asking comes last: a tuner that thinks for a second before each trial would otherwise
keep the outcomes of many clients waiting behind the trials that they ask for.
"""

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

AT_ONCE, LATER, _NEVER = 0, 1, 2
_CLOSE_S = 30.0


class CallQueue:
    """Makes calls, one after another, in a thread of its own; a context manager while it does.

    Leaving it returns when all that was submitted is done, or after half a minute.
    """

    def __init__(self):
        self._queue: queue.PriorityQueue = queue.PriorityQueue()
        self._number = itertools.count()  # Calls of one rank keep their order.
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.submit(_NEVER, lambda: None)
        self._thread.join(_CLOSE_S)

    def submit(self, rank: int, call: Callable[..., Any], *args: Any) -> Future:
        """What the call will have returned. `rank`: AT_ONCE, or LATER when nothing else is to do."""
        future: Future = Future()
        self._queue.put((rank, next(self._number), future, call, args))
        return future

    def _run(self) -> None:
        while True:
            rank, _, future, call, args = self._queue.get()
            if rank == _NEVER:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call(*args))
            except Exception as error:  # Who waits for the future raises it.
                future.set_exception(error)
