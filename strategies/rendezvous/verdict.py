"""How does the leader tell the other tasks whether to start?

With one message at the end of the roll call: "go" and the name of the run, or the error that all tasks
raise. This file also has what both sides need to understand each other: the form of the first message,
and the advice for a task whose peers are missing.
"""

from collections.abc import Mapping
from typing import Any

from strategies.cluster import alone
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.network.connection import Message
from strategies.network.wire_text import printable_line

Fingerprint = Mapping[str, Any]

ANSWER_TIMEOUT_S = 5.0
_MAX_ERROR_CHARACTERS = 1 << 14  # It may name many tasks.


def go(run: str) -> Message:
    """The message that starts the run with this name."""
    return {"verdict": "go", "run": run}


def failure(error: ClusterError | Resumable) -> Message:
    """The message with which every task raises this error."""
    if isinstance(error, ClusterError):
        return {"verdict": "input", "text": str(error)}
    return {"verdict": "resume", "text": str(error), "task": error.task and error.task.as_json()}


def is_go(message: Message) -> bool:
    return message.get("verdict") == "go"


def error_of(message: Message) -> ClusterError | Resumable:
    """The error that a message of `failure` carries."""
    text = printable_line(message.get("text"), _MAX_ERROR_CHARACTERS)
    if message.get("verdict") == "input":
        return ClusterError(text)
    return Resumable(text, task=Task.from_json(message.get("task")))


def is_introduction(received: Message) -> bool:
    """Whether this introduces a task: `task` is [job, index], and `fingerprint` an object."""
    is_task = Task.from_json(received.get("task")) is not None
    return is_task and isinstance(received.get("fingerprint"), dict)


def fix_for_missing_tasks(cluster: ClusterSpec) -> str:
    """How to fix a cluster that lists tasks which nobody meant to start."""
    if not alone.is_written(
        cluster.source
    ):  # As in a shell that is the first task of a Slurm step.
        return alone.HOW
    return f"correct {cluster.source}"
