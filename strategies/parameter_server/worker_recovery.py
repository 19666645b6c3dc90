"""How does TensorFlow take a lost worker back while another stays away?

Left alone its coordinator, once a worker failed, waits until every server of the cluster answers, in
native code and without a deadline: a worker that stays away would keep all that come back from work.
So each time it is told of the servers that live, and of those alone. Of a worker that is not among
them it finds that its device is unknown, takes that for another failure, and waits again.

This leans on the insides of tf.distribute, whose versions setup.py bounds.
"""

import contextlib
import threading
import time
from typing import Any

from tensorflow.python.distribute.coordinator.cluster_coordinator import ClosureAbortedError

from strategies.cluster.spec import Task
from strategies.rendezvous.membership import Membership

# TensorFlow would wait for who is lost in the moment that it is told who lives; and from its end to
# the news of it a process takes a tenth of a second. So who lives must have stood for this long.
_SETTLE_S = 1.0
_TAKEN_BACK_WITHIN_S = 30.0


def recover_each_alone(coordinator: Any, peers: Membership) -> None:
    """From now on the coordinator takes every worker back as soon as it is not among `peers.lost`.

    A worker that it nevertheless does not take back is given up as lost: nobody waits for it.
    """
    cluster = coordinator._cluster
    handler = cluster.failure_handler
    handler._server_def = _LivingServers(handler._server_def, cluster.workers, peers)
    threading.Thread(
        target=_give_up_who_is_not_taken_back, args=(cluster.workers, peers), daemon=True
    ).start()


def made_on_every_worker(coordinator: Any, function: Any, args: tuple) -> list:
    """What the function makes on each worker now, and again on one that is back, before other work.

    It is made for as long as somebody holds what is returned.
    """
    return list(coordinator._create_per_worker_resources(function, args)._values)


def await_made(values: list) -> None:
    """Waits until each is made, or its worker failed, which is then for the recovery to mend."""
    for value in values:
        with contextlib.suppress(ClosureAbortedError):
            value.fetch()


class _LivingServers:
    """A ServerDef to TensorFlow, which asks for its text at each try to recover, and may wait for it."""

    def __init__(self, everyone: Any, workers: list, peers: Membership):
        self._everyone = everyone
        self._workers = workers
        self._peers = peers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._everyone, name)

    def SerializeToString(self) -> bytes:
        """The cluster without who is lost, once a worker that TensorFlow gave up is not."""
        before = None
        while (lost := {*self._peers.lost}) != before or not _failed(self._workers) - lost:
            before = lost
            time.sleep(_SETTLE_S)
        living = type(self._everyone)()
        living.CopyFrom(self._everyone)
        for job in living.cluster.job:
            for task in lost:
                if job.name == task.type:
                    job.tasks.pop(task.index, None)
        return living.SerializeToString()


def _give_up_who_is_not_taken_back(workers: list, peers: Membership) -> None:
    since: dict[Task, float] = {}
    while True:
        time.sleep(_SETTLE_S)  # TensorFlow tells of failures by an attribute alone.
        now = time.monotonic()
        since = {task: since.get(task, now) for task in _failed(workers) - {*peers.lost}}
        for task, failed_at in since.items():
            if now - failed_at > _TAKEN_BACK_WITHIN_S:
                peers.declare_lost(
                    task, f"TensorFlow did not take it back within {_TAKEN_BACK_WITHIN_S:g} s"
                )


def _failed(workers: list) -> set[Task]:
    """The workers that TensorFlow gives no work."""
    return {Task("worker", worker.worker_index) for worker in workers if worker._is_dead_with_error}
