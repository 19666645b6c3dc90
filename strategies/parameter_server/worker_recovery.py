"""How does TensorFlow recover a lost worker while another is still missing?

By giving its coordinator a cluster definition without the lost tasks. After a worker fails, the
coordinator waits in native code, without a deadline, until every server of the cluster answers: one
missing worker would keep all recovered ones idle. So each attempt to recover is given only the live
servers. A worker that is not among them has an unknown device for TensorFlow, which counts as another
failure, and it waits again.

This relies on internals of tf.distribute, whose versions setup.py bounds.
"""

import contextlib
import threading
import time
from typing import Any

from tensorflow.python.distribute.coordinator.cluster_coordinator import ClosureAbortedError

from strategies.cluster.spec import Task
from strategies.rendezvous.membership import Membership

# TensorFlow would block on a worker that dies just as it is given the list of live ones, and the end of a
# process is known only after a tenth of a second. So the lost tasks must be the same for this long.
_SETTLE_S = 1.0
_RECOVERY_TIMEOUT_S = 30.0


def recover_workers_independently(coordinator: Any, peers: Membership) -> None:
    """Makes the coordinator recover each worker as soon as it is no longer in `peers.lost`.

    A worker that TensorFlow does not recover in time is given up as lost, and no longer waited for.
    """
    cluster = coordinator._cluster
    handler = cluster.failure_handler
    handler._server_def = _LiveServers(handler._server_def, cluster.workers, peers)
    threading.Thread(
        target=_give_up_unrecovered, args=(cluster.workers, peers), daemon=True
    ).start()


def create_on_every_worker(coordinator: Any, function: Any, args: tuple) -> list:
    """Calls the function on each worker now, and on a recovered one before it gets other work.

    Returns the results, one per worker. Recovered workers get the call while these are referenced.
    """
    return list(coordinator._create_per_worker_resources(function, args)._values)


def await_created(values: list) -> None:
    """Waits for each result of `create_on_every_worker`, or until its worker has failed."""
    for value in values:
        with contextlib.suppress(ClosureAbortedError):
            value.fetch()


class _LiveServers:
    """A ServerDef. TensorFlow serialises it for each attempt to recover, and may wait for that."""

    def __init__(self, server_def: Any, workers: list, peers: Membership):
        self._server_def = server_def
        self._workers = workers
        self._peers = peers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server_def, name)

    def SerializeToString(self) -> bytes:
        """The cluster without its lost tasks, once a failed worker is no longer among them."""
        before = None
        while (lost := {*self._peers.lost}) != before or not _failed(self._workers) - lost:
            before = lost
            time.sleep(_SETTLE_S)
        live = type(self._server_def)()
        live.CopyFrom(self._server_def)
        for job in live.cluster.job:
            for task in lost:
                if job.name == task.type:
                    job.tasks.pop(task.index, None)
        return live.SerializeToString()


def _give_up_unrecovered(workers: list, peers: Membership) -> None:
    since: dict[Task, float] = {}
    while True:
        time.sleep(_SETTLE_S)  # TensorFlow reports a failure only by an attribute.
        now = time.monotonic()
        since = {task: since.get(task, now) for task in _failed(workers) - {*peers.lost}}
        for task, failed_at in since.items():
            if now - failed_at > _RECOVERY_TIMEOUT_S:
                peers.declare_lost(
                    task, f"TensorFlow did not recover it within {_RECOVERY_TIMEOUT_S:g} s"
                )


def _failed(workers: list) -> set[Task]:
    """The workers that TensorFlow has stopped giving work."""
    return {Task("worker", worker.worker_index) for worker in workers if worker._is_dead_with_error}
