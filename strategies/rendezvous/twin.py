"""Is there another process that says it is the leader? `Twin` listens for it during the roll call.

The leader calls all others, so nobody calls the leader, except a process with the same index. Without a
listener both would report that the others do not answer.
"""

import threading
import time

from strategies.cluster.spec import ClusterSpec
from strategies.errors import ClusterError
from strategies.network.handshake import Handshake
from strategies.network.listener import AuthenticatingListener
from strategies.network.sockets import listen

_POLL_EVERY_S = 0.05


class Twin:
    """Listens on the leader's address while the body runs, and answers with the leader's introduction.

    Entering raises ClusterError where the address cannot be listened on.
    """

    def __init__(self, cluster: ClusterSpec, handshake: Handshake):
        self._cluster, self._handshake = cluster, handshake
        self._host = ""
        self._is_over = threading.Event()

    def __enter__(self) -> "Twin":
        self._listener = listen(self._cluster)
        self._thread = threading.Thread(target=self._answer, name="twin", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._listener.close()

    def error(self) -> ClusterError | None:
        """The error where another process called that is this same task."""
        if not self._host:
            return None
        task = self._cluster.task
        return ClusterError(
            f"`task` must differ between the tasks. Received: {task} here, and a call from {self._host} "
            f"by another {task}; give each task its own index."
        )

    def _answer(self) -> None:
        task = self._cluster.task.as_json()
        with AuthenticatingListener(self._listener, self._handshake) as callers:
            while not self._is_over.is_set():
                if caller := callers.next_caller(time.monotonic() + _POLL_EVERY_S):
                    if caller.introduction.get("task") == task:
                        self._host = caller.link.host
                    caller.link.close()
