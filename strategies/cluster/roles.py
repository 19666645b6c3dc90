"""Which job does each task of a list without jobs have?

All tasks are workers. With `ps` parameter servers, the first task is the chief, the next `ps` are the
parameter servers, and the rest are workers: the order of TensorFlow's resolvers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from strategies.errors import ClusterError


def jobs(addresses: Sequence[str], ps: int, source: str) -> dict[str, list[str]]:
    """The addresses by job. Raises ClusterError where none is left for a worker.

    `source`: where the addresses are from, for the error.
    """
    if not ps:
        return {"worker": [*addresses]}
    if len(addresses) < ps + 2:
        raise ClusterError(
            f"`--ps` must leave a chief and a worker of the {len(addresses)} tasks from {source}. "
            f"Received: {ps}; lower it, or start {ps + 2} tasks or more."
        )
    return {
        "chief": [addresses[0]],
        "ps": [*addresses[1 : ps + 1]],
        "worker": [*addresses[ps + 1 :]],
    }


def task_at(jobs: Mapping[str, Sequence[str]], number: int) -> dict[str, Any]:
    """The `task` with this number, from 0, where all tasks of `jobs` are numbered in their order."""
    tasks = [(job, index) for job, addresses in jobs.items() for index in range(len(addresses))]
    job, index = tasks[number]
    return {"type": job, "index": index}
