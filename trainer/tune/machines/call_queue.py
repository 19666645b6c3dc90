"""In which order do the clients' calls reach the search?

`CallQueue` makes them one at a time. Asking for a trial has low priority: a tuner may compute for a
second before each trial, and the outcomes of many clients would otherwise wait for it.
"""

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

HIGH, LOW, _STOP = 0, 1, 2
_CLOSE_TIMEOUT_S = 30.0


class CallQueue:
    """Makes calls one after another, in its own thread. A context manager.

    Leaving it returns when all submitted calls are done, or after 30 s.
    """

    def __init__(self):
        self._queue: queue.PriorityQueue = queue.PriorityQueue()
        self._number = itertools.count()  # Calls of one priority keep their order.
        self._thread = threading.Thread(target=self._run, name="call-queue", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.submit(_STOP, lambda: None)
        self._thread.join(_CLOSE_TIMEOUT_S)

    def submit(self, priority: int, call: Callable[..., Any], *args: Any) -> Future:
        """The future result of a call. `priority`: HIGH, or LOW to wait until no HIGH call is left."""
        future: Future = Future()
        self._queue.put((priority, next(self._number), future, call, args))
        return future

    def _run(self) -> None:
        while True:
            priority, _, future, call, args = self._queue.get()
            if priority == _STOP:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call(*args))
            except Exception as error:  # Raised again by `future.result()`.
                future.set_exception(error)
