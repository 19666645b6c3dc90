"""Which tasks are in this cluster, and which one is this process?

`ClusterSpec` lists them: a validated, frozen value that is passed to the rest of the program.
`resolve.py` makes it from the environment and the flags.
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
    """One process of a cluster: its job and its index, from 0, among the tasks of that job."""

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

    `jobs` maps "chief", "worker" and "ps" to addresses ("host:port"). It is empty for a single task. An
    evaluator does not take part in training, so it is never in `jobs`, though it may be `task`.
    `source` is what defined the cluster: "TF_CONFIG", "--cluster" or an environment such as "Slurm".
    `note` is shown after it.
    Two specs that differ only in `source` and `note` are equal.
    """

    jobs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict, hash=False)
    task: Task = Task("worker", 0)
    source: str = dataclasses.field(default=TF_CONFIG, compare=False)
    note: str = dataclasses.field(default="", compare=False)

    @property
    def is_single_task(self) -> bool:
        """True without a cluster, and in a cluster of one task."""
        return len(self.tasks()) == 1

    @property
    def has_ps(self) -> bool:
        return "ps" in self.jobs

    @property
    def is_evaluator(self) -> bool:
        return self.task.type == "evaluator"

    @property
    def leader(self) -> Task:
        """The task that coordinates and writes: the chief, or worker 0 where there is no chief."""
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
        excluded = ("chief", "ps") if self.has_ps else ()
        return [task for task in self.tasks() if task.type not in excluded]

    @property
    def process_index(self) -> int:
        """The index of this task in `trainers()`. Raises ValueError where it holds no replica."""
        return self.trainers().index(self.task)

    def address(self, task: Task) -> str:
        """The "host:port" of a task. Raises KeyError or IndexError for a task that is not in `jobs`."""
        return self.jobs[task.type][task.index]

    def as_dict(self) -> dict[str, list[str]]:
        """`jobs` with lists, as TensorFlow's own ClusterSpec takes them."""
        return {job: list(addresses) for job, addresses in self.jobs.items()}

    def fingerprint(self) -> str:
        """The SHA-256 of `jobs` in hexadecimal: equal on every task of one cluster."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __str__(self) -> str:
        if not self.jobs:
            if self.is_evaluator:
                return "evaluator 0, the only task of its cluster"
            return f"single task, no cluster in TF_CONFIG{self.note}"
        # TF_CONFIG is the usual source, and is not mentioned.
        source = "" if self.source == TF_CONFIG else f" (from {self.source}{self.note})"
        if self.is_single_task and not self.is_evaluator:
            return f"{self.task}, the only task of its cluster{source}"
        *most, last = [_counted(len(addresses), job) for job, addresses in self.jobs.items()]
        jobs = f"{', '.join(most)} and {last}" if most else last
        return f"{self.task} in a cluster of {jobs}{source}"


def split_address(address: str) -> tuple[str, int]:
    """The host and port of "host:port" or "[ipv6]:port". Raises ValueError for any other text."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})", address)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise ValueError(f"not host:port: {address!r}")
    host = match[1].strip("[]")
    if match[1].startswith("["):
        ipaddress.IPv6Address(host)
    return host, int(match[2])


def _counted(count: int, job: str) -> str:
    return f"{count} {job}" + ("s" if count > 1 and job != "ps" else "")
