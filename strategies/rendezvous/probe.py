"""Can the tasks of this cluster be reached?

`probe` greets each other task once, and `check_own_address` listens on this task's own address for a
moment. Neither takes part in the roll call. A connection alone says little: a service mesh accepts all.
"""

import threading
import time

from strategies.cluster.spec import ClusterSpec, Task
from strategies.network.connection import ProtocolError
from strategies.network.handshake import Handshake, reason
from strategies.network.security import PLAIN, Security
from strategies.network.sockets import connect, listen


def probe(
    cluster: ClusterSpec, timeout_s: float = 2.0, security: Security = PLAIN
) -> dict[Task, str]:
    """The result of greeting each other task at its address, within `timeout_s` for all together.

    A result is "answers", which only a task does; "refused", "name does not resolve", "it closed the
    connection", "another program answers there", "no answer within 2 s", or the system's words.
    """
    if not cluster.jobs:
        return {}
    handshake = Handshake(security, {}, lambda introduction: False)
    no_answer = f"no answer within {timeout_s:g} s"
    results = {task: no_answer for task in cluster.tasks() if task != cluster.task}
    threads = [
        threading.Thread(
            target=_greet, args=(handshake, cluster, task, timeout_s, results), daemon=True
        )
        for task in results
    ]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {
        task: no_answer if result == "no answer" else result for task, result in results.items()
    }


def check_own_address(cluster: ClusterSpec) -> None:
    """Checks that this task can listen for the roll call. Raises ClusterError, as `meet` would."""
    if not (cluster.is_single_task or cluster.is_evaluator):
        listen(cluster).close()


def _greet(
    handshake: Handshake,
    cluster: ClusterSpec,
    task: Task,
    timeout_s: float,
    results: dict[Task, str],
) -> None:
    try:
        deadline = time.monotonic() + timeout_s
        handshake.greet(connect(cluster.address(task), timeout_s), deadline)
        results[task] = "answers"
    except (OSError, EOFError, ProtocolError, UnicodeError) as error:
        results[task] = reason(error)
