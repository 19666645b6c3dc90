"""What does TF_CONFIG say, and is it right?"""

import contextlib
import difflib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from strategies.cluster.spec import JOBS, TF_CONFIG, ClusterSpec, Task, split_address
from strategies.errors import ClusterError

EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


def from_env(environ: Mapping[str, str] = os.environ) -> ClusterSpec:
    """The cluster TF_CONFIG describes; a single task where TF_CONFIG is unset, empty or `{}`.

    Raises:
      ClusterError: TF_CONFIG describes nothing that can run.
    """
    return parse(environ.get(TF_CONFIG, ""))


def parse(text: str) -> ClusterSpec:
    """The cluster that the text of a TF_CONFIG describes. Raises ClusterError."""
    with _told(TF_CONFIG):
        config = _json_object(text) if text.strip() else {}
    return from_dict(config, TF_CONFIG) if config else ClusterSpec()


def from_dict(config: Mapping[str, Any], source: str, note: str = "") -> ClusterSpec:
    """The cluster of a `cluster` and a `task` as a TF_CONFIG has them. Raises ClusterError."""
    with _told(source):
        jobs = _jobs(config)
        task = _task(config, jobs)
        _check_jobs_together(jobs)
    trained = {job: jobs[job] for job in JOBS if job in jobs and job != "evaluator"}
    return ClusterSpec(trained, task, source, note)


def _shown(value: Any) -> str:
    """The value as one short line, however long or odd it is."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 100 else text[:97] + "..."


class _InvalidCluster(Exception):
    """What is wrong with a cluster, wherever it was said."""


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """Turns a mistake into the error that names the place where it was made."""
    try:
        yield
    except _InvalidCluster as mistake:
        raise ClusterError(f"{place}: {mistake}") from None


def _error(problem: str, received: Any, way_out: str) -> _InvalidCluster:
    return _InvalidCluster(f"{problem}. Received: {_shown(received)}; {way_out}.")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_unrepeated)
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise _error(f"must be JSON, but {where}", text, f"try {EXAMPLE}") from None
    except (RecursionError, ValueError):  # ValueError: more digits than Python will read.
        raise _error("must be JSON of a few levels and digits", text, f"try {EXAMPLE}") from None
    if not isinstance(value, dict):
        raise _error("must be a JSON object", value, f"try {EXAMPLE}")
    return value


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict. JSON's reader would keep the last of two equal keys in silence."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise _error(f"`{key}` must be given once", keys, "merge the two")
    return dict(pairs)


def _jobs(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    if "cluster" not in config:
        raise _error("`cluster` is missing", config, f"try {EXAMPLE}")
    cluster = config["cluster"]
    if not isinstance(cluster, dict):
        raise _error("`cluster` must map jobs to addresses", cluster, f"try {EXAMPLE}")
    if not cluster:
        unset = "list the tasks, or leave it out to train on this machine alone"
        raise _error("`cluster` must name at least one job", cluster, unset)
    for job in cluster:
        _check_job_name(job)
    jobs = {job: _addresses(job, addresses) for job, addresses in cluster.items()}
    _check_unrepeated(jobs)
    return jobs


def _check_job_name(job: str) -> None:
    if job not in JOBS:
        raise _error(f"`cluster` knows no such job; its jobs are {', '.join(JOBS)}", job, _try(job))


def _try(job: Any) -> str:
    """What somebody who wrote `job` may have meant."""
    if job == "master":
        return 'write "chief", as "master" was renamed'
    nearest = difflib.get_close_matches(str(job).lower(), JOBS, n=1, cutoff=0.5)
    return f'write "{nearest[0]}"' if nearest else f"try {EXAMPLE}"


def _addresses(job: str, addresses: Any) -> tuple[str, ...]:
    if isinstance(addresses, dict):
        way_out = "list all addresses in order, the same on every task"
        raise _error(f"`cluster.{job}` must be a list, not a sparse mapping", addresses, way_out)
    if not isinstance(addresses, list) or not addresses:
        way_out = f'write "{job}": ["host:port"]'
        raise _error(f"`cluster.{job}` must be a list of addresses", addresses, way_out)
    for index, address in enumerate(addresses):
        _check_address(f"cluster.{job}[{index}]", address)
    return tuple(addresses)


def _check_address(field: str, address: Any) -> None:
    if isinstance(address, str) and "://" in address:
        raise _error(f"`{field}` must be host:port", address, "leave the protocol out")
    try:
        split_address(address)
    except (TypeError, ValueError):
        way_out = 'write a host, a colon and a port from 1 to 65535, e.g. "host0:2222"'
        if isinstance(address, str) and address.count(":") > 2 and "[" not in address:
            way_out = 'write an address of IPv6 in brackets, e.g. "[fd00::1]:2222"'
        raise _error(f"`{field}` must be host:port", address, way_out) from None


def _places(jobs: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for job, addresses in jobs.items():
        for index, address in enumerate(addresses):
            yield f"cluster.{job}[{index}]", address


def _check_unrepeated(jobs: Mapping[str, tuple[str, ...]]) -> None:
    first: dict[str, str] = {}
    for field, address in _places(jobs):
        other = first.setdefault(address.lower(), field)
        if other == field:
            continue
        way_out = "give each task its own port"
        if "cluster.chief[0]" in (other, field):
            way_out = "list the chief under `chief` only; it is none of the workers"
        raise _error(f"`{other}` and `{field}` must differ", address, way_out)


def _task(config: Mapping[str, Any], jobs: Mapping[str, tuple[str, ...]]) -> Task:
    if "task" not in config:
        way_out = 'add e.g. "task": {"type": "worker", "index": 0}'
        raise _error("`task` is missing, so this process cannot tell which it is", config, way_out)
    task = config["task"]
    if not isinstance(task, dict):
        raise _error("`task` must be an object", task, 'try {"type": "worker", "index": 0}')
    task_type = _task_type(task, jobs)
    return Task(task_type, _task_index(task, task_type, jobs))


def _task_type(task: Mapping[str, Any], jobs: Mapping[str, tuple[str, ...]]) -> str:
    if "type" not in task:
        raise _error("`task.type` is missing", task, f"write one of {', '.join(jobs)}")
    task_type = task["type"]
    if not isinstance(task_type, str) or task_type not in JOBS:
        raise _error(f"`task.type` must be one of {', '.join(jobs)}", task_type, _try(task_type))
    if task_type not in jobs and task_type != "evaluator":
        way_out = f"add it to `cluster`, or use one of {', '.join(jobs)}"
        if task_type == "chief" and "worker" in jobs:
            way_out = "without a chief worker 0 leads, so that is this task's name"
        raise _error("`task.type` must be a job of `cluster`", task_type, way_out)
    return task_type


def _task_index(
    task: Mapping[str, Any], task_type: str, jobs: Mapping[str, tuple[str, ...]]
) -> int:
    if "index" not in task:
        raise _error("`task.index` is missing", task, 'add e.g. "index": 0')
    index = task["index"]
    if type(index) is not int:
        raise _error("`task.index` must be an integer", index, "write e.g. 0, without quotes")
    last = len(jobs.get(task_type, [""])) - 1
    if not 0 <= index <= last:
        span = "0" if last == 0 else f"from 0 to {last}"
        raise _error(
            f"`task.index` must be {span} for {_article(task_type)}", index, _recount(jobs)
        )
    return index


def _article(job: str) -> str:
    return f"an {job}" if job == "evaluator" else f"a {job}"


def _recount(jobs: Mapping[str, tuple[str, ...]]) -> str:
    if "chief" in jobs:
        return "count the tasks of each job from 0; the chief is not counted among the workers"
    return "count the tasks of each job from 0"


def _check_jobs_together(jobs: Mapping[str, tuple[str, ...]]) -> None:
    if len(jobs.get("chief", ())) > 1:
        way_out = "keep one, and list the others under `worker`"
        raise _error("`cluster.chief` must have one address", jobs["chief"], way_out)
    if "ps" in jobs and "chief" not in jobs:
        way_out = "add a `chief`, with its host:port"
        raise _error("a parameter-server cluster needs a `chief` to coordinate", jobs, way_out)
    if "ps" in jobs and "worker" not in jobs:
        way_out = "add a `worker`, with its host:port"
        raise _error("a parameter-server cluster needs a `worker` to compute", jobs, way_out)
