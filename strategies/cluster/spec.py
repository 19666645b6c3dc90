"""Who am I in this cluster?

`ClusterSpec` is a cluster after checking: a frozen value that the rest of the program is given.
`tf_config.py` reads TF_CONFIG; `resolve.py` knows the other sources of a cluster.
"""

import dataclasses
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping

TF_CONFIG = "TF_CONFIG"
JOBS = ("chief", "worker", "ps", "evaluator")


@dataclasses.dataclass(frozen=True, order=True)
class Task:
    """One process of a cluster: its job and its place, from 0, among the tasks of that job."""

    type: str
    index: int

    def __str__(self) -> str:
        return f"{self.type} {self.index}"

    def as_json(self) -> list:
        return [self.type, self.index]

    @classmethod
    def from_json(cls, value: object) -> "Task | None":
        """The task of which this is `as_json`. None for any other value: it comes from outside."""
        if not isinstance(value, list) or [type(part) for part in value] != [str, int]:
            return None
        return cls(*value) if value[0] in JOBS and value[1] >= 0 else None


@dataclasses.dataclass(frozen=True)
class ClusterSpec:
    """The tasks that train together, and which of them this process is.

    `jobs` maps "chief", "worker" and "ps" to addresses ("host:port"). An evaluator takes no part in
    training, so it is never in `jobs`, though it may be `task`. No jobs: this process is alone.
    `source` is where this was said, and `note` how the task was told apart, or of one that is alone
    what may have been meant; neither makes a difference.
    """

    jobs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict, hash=False)
    task: Task = Task("worker", 0)
    source: str = dataclasses.field(default=TF_CONFIG, compare=False)
    note: str = dataclasses.field(default="", compare=False)

    @property
    def is_alone(self) -> bool:
        """True without a cluster, and in one of a single task."""
        return len(self.tasks()) == 1

    @property
    def has_ps(self) -> bool:
        return "ps" in self.jobs

    @property
    def is_evaluator(self) -> bool:
        return self.task.type == "evaluator"

    @property
    def leader(self) -> Task:
        """The task that coordinates and writes: the chief, or worker 0 where there is none."""
        return Task("chief" if "chief" in self.jobs else "worker", 0)

    @property
    def is_leader(self) -> bool:
        return self.task == self.leader

    def tasks(self) -> list[Task]:
        """Every task that takes part in training: chief, workers, ps."""
        order = [job for job in JOBS if job in self.jobs]
        listed = [Task(job, index) for job in order for index in range(len(self.jobs[job]))]
        return listed or [self.leader]

    def trainers(self) -> list[Task]:
        """The tasks that hold replicas, in order. A chief with parameter servers coordinates."""
        without = ("chief", "ps") if self.has_ps else ()
        return [task for task in self.tasks() if task.type not in without]

    @property
    def process_index(self) -> int:
        """The place of this task in `trainers()`. Raises ValueError where it holds no replica."""
        return self.trainers().index(self.task)

    def address(self, task: Task) -> str:
        """The "host:port" of a task. Raises KeyError or IndexError for one not in `jobs`."""
        return self.jobs[task.type][task.index]

    def as_dict(self) -> dict[str, list[str]]:
        """`jobs` as plain lists: what TensorFlow's own ClusterSpec takes."""
        return {job: list(addresses) for job, addresses in self.jobs.items()}

    def fingerprint(self) -> str:
        """The sha256 of `jobs` in a canonical form: equal on every task of one cluster."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __str__(self) -> str:
        if not self.jobs:
            return (
                "evaluator 0, alone"
                if self.is_evaluator
                else f"alone, no cluster in TF_CONFIG{self.note}"
            )
        # Who wrote a TF_CONFIG needs not be told of it.
        whence = "" if self.source == TF_CONFIG else f" (from {self.source}{self.note})"
        if self.is_alone and not self.is_evaluator:
            return f"{self.task}, the only task of its cluster{whence}"
        counts = [_counted(len(addresses), job) for job, addresses in self.jobs.items()]
        *most, last = counts
        whole = f"{', '.join(most) + ' and ' if most else ''}{last}"
        return f"{self.task} in a cluster of {whole}{whence}"


def split_address(address: str) -> tuple[str, int]:
    """The host and port of "host:port" or "[ipv6]:port". Raises ValueError."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})", address)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise ValueError(f"no host:port: {address!r}")
    host = match[1].strip("[]")
    if match[1].startswith("["):
        ipaddress.IPv6Address(host)
    return host, int(match[2])


def _counted(count: int, job: str) -> str:
    return f"{count} {job}" + ("s" if count > 1 and job != "ps" else "")
