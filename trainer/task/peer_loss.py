"""Which losses of others does a task bear, and which end it?"""

import threading
from collections.abc import Callable

from absl import logging

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import EXIT_RESUME
from strategies.network.sockets import cut
from trainer.process.signals import exit_now


class LostTasks:
    """Decides which losses this task bears, and has who was lost brought back."""

    def __init__(self, cluster: ClusterSpec, serves: bool, reconnect: Callable[[Task], None]):
        self._cluster = cluster
        self._serves = serves
        self._bring_back = reconnect
        self._workers = set(cluster.trainers()) if cluster.has_ps else set()
        self.started = False  # Before that even a worker's loss would leave TensorFlow waiting.

    def on_lost(self, task: Task, reason: str) -> None:
        self._workers.discard(task)
        if self._serves and task != self._cluster.leader:
            # The leader decides, and is itself watched.
            threading.Thread(target=cut, args=(self._cluster.address(task),), daemon=True).start()
            return
        spare = task.type == "worker" and self._cluster.has_ps and self.started
        if spare and self._workers:
            logging.warning("%s was lost (%s); the others take over its work", task, reason)
            self._bring_back(task)
            return
        message = f"{task} was lost ({reason}); run the same command again to go on"
        exit_now(EXIT_RESUME, message, task)

    def on_back(self, task: Task) -> None:
        self._workers.add(task)
        if not self._serves:
            logging.info("%s is back, and takes work again", task)
