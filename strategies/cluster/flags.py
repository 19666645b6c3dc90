"""What do `--cluster` and `--task` say?

`--cluster=worker=a:2222,b:2222 --task=worker:0`: the jobs with their addresses, and which task this is.
A further job follows after a comma, chief=c:2222,worker=a:2222,b:2222, or after a semicolon.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from strategies.cluster import hostlist, local_address, roles, tf_config
from strategies.cluster.spec import JOBS, ClusterSpec
from strategies.errors import ClusterError

PLACE = "--cluster"
COMPLETION_INDEX = "JOB_COMPLETION_INDEX"  # Kubernetes gives it to each pod of an Indexed Job.
_EXAMPLE = "--cluster=worker=host0:2222,host1:2222"


@dataclasses.dataclass(frozen=True)
class ClusterFlags:
    """The flags of a command that are about its cluster, as they were typed."""

    cluster: str = ""
    task: str = ""
    ps: int = 0


def read(asked: ClusterFlags, environ: Mapping[str, str]) -> ClusterSpec:
    """The cluster of the flags. Raises ClusterError where they describe none that can run."""
    if not asked.cluster:
        raise _error("task", "needs `--cluster` beside it", asked.task, f"add e.g. {_EXAMPLE}")
    jobs = _jobs(asked)
    if not asked.task:  # A list that cannot run is told as such, before its names are looked up.
        tf_config.from_dict({"cluster": jobs, "task": roles.task_at(jobs, 0)}, PLACE)
    task, note = (_task(asked.task), "") if asked.task else _own(jobs, environ)
    return tf_config.from_dict({"cluster": jobs, "task": task}, PLACE, note)


def _jobs(asked: ClusterFlags) -> dict[str, list[str]]:
    if "=" not in asked.cluster:
        return roles.jobs(_addresses(asked.cluster), asked.ps, PLACE)
    if asked.ps:
        way_out = "list the parameter servers as ps=host:port, or leave the names of jobs out"
        raise _error("ps", "is for a list without names of jobs", asked.cluster, way_out)
    jobs: dict[str, list[str]] = {}
    job = ""
    for part in hostlist.split(asked.cluster.replace(";", ",")):
        name, is_named, address = part.rpartition("=")
        if not is_named and not job:
            raise _error("cluster", "must begin with a job", asked.cluster, f"try {_EXAMPLE}")
        if is_named:
            job = _job("cluster", name.strip())
            if job in jobs:
                raise _error(
                    "cluster", "must name each job once", asked.cluster, f"merge the two {job}"
                )
            jobs[job] = []
        jobs[job].append(address)
    return {job: _addresses(",".join(those)) for job, those in jobs.items()}


def _job(flag: str, job: str) -> str:
    if job not in JOBS:
        way_out = f"try {_EXAMPLE}" if flag == "cluster" else "try --task=worker:0"
        raise _error(flag, f"knows the jobs {', '.join(JOBS)}", job, way_out)
    return job


def _addresses(text: str) -> list[str]:
    try:
        addresses = [address.strip() for address in hostlist.expand(text)]
    except ValueError as error:
        raise _error("cluster", f"must list addresses ({error})", text, f"try {_EXAMPLE}") from None
    if not addresses:
        raise _error("cluster", "must list addresses", text, f"try {_EXAMPLE}")
    return addresses


def _task(text: str) -> dict[str, Any]:
    job, _, index = text.partition(":")
    if not re.fullmatch(r"[0-9]{1,9}", index):
        raise _error("task", "must be a job and a number from 0", text, "try --task=worker:0")
    return {"type": _job("task", job), "index": int(index)}


def _own(jobs: Mapping[str, list[str]], environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Which task this is where nobody says so, and how that was told."""
    addresses = [address for those in jobs.values() for address in those]
    if index := environ.get(COMPLETION_INDEX):
        return roles.task_at(
            jobs, _completed(index, len(addresses))
        ), f", as {COMPLETION_INDEX} says"
    number = _own_place(addresses)
    return roles.task_at(jobs, number), f", where {addresses[number]} is this machine"


def _completed(index: str, count: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= count:
        way_out = "list a task for each completion of the Job, or give --task"
        problem = f"must be from 0 to {count - 1} for the tasks of --cluster"
        raise ClusterError(f"`{COMPLETION_INDEX}` {problem}. Received: {index!r}; {way_out}.")
    return int(index)


def _own_place(addresses: list[str]) -> int:
    way_out = "add e.g. --task=worker:0"
    try:
        found = local_address.places(addresses)
    except TimeoutError:
        problem = "does not tell which task this is: names are looked up for too long"
        raise _error("cluster", problem, addresses, way_out) from None
    if len(found) != 1:
        how = "none of its addresses" if not found else f"{len(found)} of its addresses"
        problem = f"does not tell which task this is: {how} are this machine's"
        raise _error("cluster", problem, addresses, way_out)
    return found[0]


def _error(flag: str, problem: str, received: Any, way_out: str) -> ClusterError:
    shown = ",".join(received) if isinstance(received, list) else received
    shown = repr(shown if len(shown) <= 100 else shown[:97] + "...")
    return ClusterError(f"`--{flag}` {problem}. Received: {shown}; {way_out}.")
