"""What happens when another task of the run is lost? The run survives it, or this task ends.

`PeerLossPolicy` decides, and has a lost task that the run can survive brought back.
"""

import threading
from collections.abc import Callable

from absl import logging

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import EXIT_RESUME
from strategies.network.sockets import close_connections_to
from trainer.process.signals import exit_now


class PeerLossPolicy:
    """Its methods are the callbacks of `Membership.watch`."""

    def __init__(
        self,
        cluster: ClusterSpec,
        choice: Choice,
        reconnect: Callable[[Task], None],
        note: Callable[[str, str], None] = lambda event, text: None,
    ):
        """`note` records that a task was lost."""
        self._cluster, self._note = cluster, note
        self._serves = choice.serves(cluster)
        self._reconnect = reconnect
        self._replaceable = choice.replaceable_tasks(cluster)
        self._left = set(self._replaceable)
        # Set it once the runtime runs. A loss before that would leave TensorFlow waiting forever.
        self.started = False

    def on_lost(self, task: Task, reason: str) -> None:
        self._left.discard(task)
        self._note("lost", f"{task} was lost ({reason})")
        if self._serves and task != self._cluster.leader:
            # The leader decides, and this task watches the leader.
            threading.Thread(
                target=close_connections_to, args=(self._cluster.address(task),), daemon=True
            ).start()
            return
        if task in self._replaceable and self.started and self._left:
            logging.warning("%s was lost (%s); the others take over its work", task, reason)
            self._reconnect(task)
            return
        message = f"{task} was lost ({reason}); run the same command again to resume"
        exit_now(EXIT_RESUME, message, task)

    def on_back(self, task: Task) -> None:
        self._left.add(task)
        if not self._serves:
            logging.info("%s is back and takes work again", task)
