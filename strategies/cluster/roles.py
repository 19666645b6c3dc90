"""Which job does each task of a plain list have?

Where a place only numbers its tasks, all are workers; or the first is the chief, the next are parameter
servers, and the rest are workers, in the order in which TensorFlow's resolvers deal them out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from strategies.errors import ClusterError


def jobs(addresses: Sequence[str], ps: int, place: str) -> dict[str, list[str]]:
    """The addresses by job. Raises ClusterError where too few are left to be workers."""
    if not ps:
        return {"worker": [*addresses]}
    if len(addresses) < ps + 2:
        raise ClusterError(
            f"`--ps` must leave a chief and a worker of the {len(addresses)} tasks from {place}. "
            f"Received: {ps}; lower it, or start {ps + 2} tasks or more."
        )
    return {
        "chief": [addresses[0]],
        "ps": [*addresses[1 : ps + 1]],
        "worker": [*addresses[ps + 1 :]],
    }


def task_at(jobs: Mapping[str, Sequence[str]], number: int) -> dict[str, Any]:
    """The `task` that has this place, from 0, among all in the order they are written in."""
    everyone = [(job, index) for job, those in jobs.items() for index in range(len(those))]
    job, index = everyone[number]
    return {"type": job, "index": index}
