"""Which cluster do `--cluster` and `--task` define?

`read` parses them. `--cluster=worker=a:2222,b:2222 --task=worker:0` gives the jobs with their addresses,
and this process's task. A comma or a semicolon separates the jobs: chief=c:2222,worker=a:2222,b:2222.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from strategies.cluster import alone, hostlist, launched, local_address, roles, tf_config
from strategies.cluster.spec import JOBS, ClusterSpec
from strategies.errors import ClusterError

SOURCE = alone.FLAG
COMPLETION_INDEX = "JOB_COMPLETION_INDEX"  # Kubernetes sets it in each pod of an Indexed Job.
_EXAMPLE = "--cluster=worker=host0:2222,host1:2222"


@dataclasses.dataclass(frozen=True)
class ClusterFlags:
    """The flags of a command that define its cluster, as they were typed."""

    cluster: str = ""
    task: str = ""
    ps: int = 0


def read(flags: ClusterFlags, environ: Mapping[str, str]) -> ClusterSpec:
    """The cluster that the flags define.

    Without `--task`, this is the task of JOB_COMPLETION_INDEX or of a launcher's rank, or the one with
    this machine's address.

    Raises:
      ClusterError: the flags define a cluster that cannot run, or not which task this is.
    """
    if not flags.cluster:
        raise _error("task", "needs `--cluster` too", flags.task, f"add e.g. {_EXAMPLE}")
    jobs = _jobs(flags)
    if not flags.task:  # An invalid list is an error before its names are resolved.
        tf_config.from_dict({"cluster": jobs, "task": roles.task_at(jobs, 0)}, SOURCE)
    task, note = (_task(flags.task), "") if flags.task else _own_task(jobs, environ)
    return tf_config.from_dict({"cluster": jobs, "task": task}, SOURCE, note)


def _jobs(flags: ClusterFlags) -> dict[str, list[str]]:
    if "=" not in flags.cluster:
        return roles.jobs(_addresses(flags.cluster), flags.ps, SOURCE)
    if flags.ps:
        fix = "list the parameter servers as ps=host:port, or remove the job names"
        raise _error("ps", "needs a --cluster without job names", flags.cluster, fix)
    jobs: dict[str, list[str]] = {}
    job = ""
    for part in hostlist.split(flags.cluster.replace(";", ",")):
        name, is_named, address = part.rpartition("=")
        if not is_named and not job:
            raise _error("cluster", "must begin with a job", flags.cluster, f"try {_EXAMPLE}")
        if is_named:
            job = _job("cluster", name.strip())
            if job in jobs:
                fix = f"merge the two lists of {job}"
                raise _error("cluster", "must name each job once", flags.cluster, fix)
            jobs[job] = []
        jobs[job].append(address)
    return {job: _addresses(",".join(addresses)) for job, addresses in jobs.items()}


def _job(flag: str, job: str) -> str:
    if job not in JOBS:
        fix = f"try {_EXAMPLE}" if flag == "cluster" else "try --task=worker:0"
        raise _error(flag, f"must name a job, one of {', '.join(JOBS)}", job, fix)
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


def _own_task(
    jobs: Mapping[str, list[str]], environ: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    """Which task this is without `--task`, and a note that says how it was found."""
    addresses = [address for of_job in jobs.values() for address in of_job]
    if index := environ.get(COMPLETION_INDEX):
        number = _completion_index(index, len(addresses))
        return roles.task_at(jobs, number), f", task from {COMPLETION_INDEX}"
    if found := launched.task_number(environ, len(addresses)):
        number, variable = found
        return roles.task_at(jobs, number), f", task from {variable}"
    number = _own_index(addresses)
    return roles.task_at(jobs, number), f", where {addresses[number]} is this machine"


def _completion_index(index: str, count: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= count:
        fix = "list one task for each completion of the Job, or add --task"
        problem = f"must be from 0 to {count - 1} for the tasks of --cluster"
        raise ClusterError(f"`{COMPLETION_INDEX}` {problem}. Received: {index!r}; {fix}.")
    return int(index)


def _own_index(addresses: list[str]) -> int:
    fix = "add e.g. --task=worker:0"
    try:
        found = local_address.own_indices(addresses)
    except TimeoutError:
        problem = "does not define which task this is: resolving its names takes too long"
        raise _error("cluster", problem, addresses, fix) from None
    if len(found) != 1:
        how = "none of its addresses" if not found else f"{len(found)} of its addresses"
        problem = f"does not define which task this is: {how} are this machine's"
        raise _error("cluster", problem, addresses, fix)
    return found[0]


def _error(flag: str, problem: str, received: Any, fix: str) -> ClusterError:
    shown = ",".join(received) if isinstance(received, list) else received
    shown = repr(shown if len(shown) <= 100 else shown[:97] + "...")
    return ClusterError(f"`--{flag}` {problem}. Received: {shown}; {fix}.")
