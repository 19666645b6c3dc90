"""Which cluster does TF_CONFIG define, and is it valid?

`parse` reads its JSON. `from_dict` validates a cluster and a task from any source, and raises an error
that names the field, the value and how to fix it.
"""

import contextlib
import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from strategies.cluster import tf_config_forms
from strategies.cluster.spec import JOBS, TF_CONFIG, ClusterSpec, Task, split_address
from strategies.errors import ClusterError

EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


def from_env(environ: Mapping[str, str] = os.environ) -> ClusterSpec:
    """The cluster that TF_CONFIG defines; a single task where it is unset or empty, or lists no tasks.

    Raises:
      ClusterError: TF_CONFIG is not valid JSON, or defines a cluster that cannot run.
    """
    return parse(environ.get(TF_CONFIG, ""))


def parse(text: str) -> ClusterSpec:
    """The cluster that the text of a TF_CONFIG defines. Raises ClusterError, as `from_env`."""
    return from_dict(json_object(text, TF_CONFIG), TF_CONFIG)


def json_object(text: str, source: str) -> dict[str, Any]:
    """The JSON object of the text; empty for an empty text. Raises ClusterError for any other text."""
    with _named(source):
        return _json_object(text) if text.strip() else {}


def from_dict(config: Mapping[str, Any], source: str, note: str = "") -> ClusterSpec:
    """The cluster with the `cluster` and `task` of `config`, which are as in TF_CONFIG.

    Args:
      config: any JSON object; other keys are ignored.
      source: what defined the cluster, for errors and `ClusterSpec.source`.
      note: for `ClusterSpec.note`.

    Raises:
      ClusterError: the cluster cannot run.
    """
    config = tf_config_forms.canonical(config)
    with _named(source):
        jobs = _jobs(config.get("cluster", {}))
        task = _task(config, jobs) if jobs else _only_task(config.get("task", {}))
        _check_jobs_together(jobs)
    training = {job: jobs[job] for job in JOBS if job in jobs and job != "evaluator"}
    return ClusterSpec(training, task, source, note)


def _shown(value: Any) -> str:
    """The value as one short line, whatever it is."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 100 else text[:97] + "..."


class _InvalidCluster(Exception):
    """The cluster cannot run. The message does not yet name the source."""


@contextlib.contextmanager
def _named(source: str) -> Iterator[None]:
    """Turns `_InvalidCluster` into a ClusterError that names the source."""
    try:
        yield
    except _InvalidCluster as error:
        raise ClusterError(f"{source}: {error}") from None


def _error(problem: str, received: Any, fix: str) -> _InvalidCluster:
    return _InvalidCluster(f"{problem}. Received: {_shown(received)}; {fix}.")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise _error(f"must be JSON, but {problem}", text, f"try {EXAMPLE}") from None
    except (RecursionError, ValueError):  # ValueError: a number has too many digits.
        raise _error(
            "must be JSON, without deep nesting or huge numbers", text, f"try {EXAMPLE}"
        ) from None
    if not isinstance(value, dict):
        raise _error("must be a JSON object", value, f"try {EXAMPLE}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict. Python's JSON decoder would silently keep the last of two equal keys."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise _error(f"`{key}` must not be repeated", keys, "merge the two")
    return dict(pairs)


def _jobs(cluster: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(cluster, dict):
        raise _error("`cluster` must map jobs to addresses", cluster, f"try {EXAMPLE}")
    for job in cluster:
        _check_job_name(job, cluster)
    jobs = {job: _addresses(job, addresses) for job, addresses in cluster.items()}
    _check_distinct(jobs)
    return jobs


def _check_job_name(job: str, cluster: Mapping[str, Any]) -> None:
    if job not in JOBS:
        fix = _suggestion(job, JOBS)
        if (close := _closest(job, JOBS)) in cluster:
            fix = f'merge it into "{close}", or remove it'
        raise _error(f"`cluster` must use the job names {', '.join(JOBS)}", job, fix)


def _suggestion(job: Any, known: Iterable[str]) -> str:
    """The job that was probably meant."""
    close = _closest(job, known)
    return f'write "{close}"' if close else f"try {EXAMPLE}"


def _closest(job: Any, known: Iterable[str]) -> str:
    name = "chief" if job == "master" else str(job).lower()
    return next(iter(difflib.get_close_matches(name, [*known], n=1, cutoff=0.5)), "")


def _addresses(job: str, addresses: Any) -> tuple[str, ...]:
    if isinstance(addresses, dict):
        fix = "list all addresses in order, the same on every task"
        raise _error(f"`cluster.{job}` must be a list, or name every index", addresses, fix)
    if not isinstance(addresses, list) or not addresses:
        example = addresses if isinstance(addresses, str) and ":" in addresses else "host0:2222"
        fix = f'write "{job}": [{_shown(example)}]'
        raise _error(f"`cluster.{job}` must be a list of addresses", addresses, fix)
    for index, address in enumerate(addresses):
        _check_address(f"cluster.{job}[{index}]", address)
    return tuple(addresses)


def _check_address(field: str, address: Any) -> None:
    if isinstance(address, str) and "://" in address:
        raise _error(f"`{field}` must be host:port", address, "remove the protocol")
    try:
        split_address(address)
    except (TypeError, ValueError):
        fix = 'write a host, a colon and a port from 1 to 65535, e.g. "host0:2222"'
        if isinstance(address, str) and address.count(":") > 2 and "[" not in address:
            fix = 'write an IPv6 address in brackets, e.g. "[fd00::1]:2222"'
        raise _error(f"`{field}` must be host:port", address, fix) from None


def _fields(jobs: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for job, addresses in jobs.items():
        for index, address in enumerate(addresses):
            yield f"cluster.{job}[{index}]", address


def _check_distinct(jobs: Mapping[str, tuple[str, ...]]) -> None:
    first: dict[str, str] = {}
    for field, address in _fields(jobs):
        other = first.setdefault(address.lower(), field)
        if other == field:
            continue
        fix = "give each task its own port"
        if [one.startswith("cluster.chief[") for one in (other, field)].count(True) == 1:
            fix = "list the chief under `chief` only, not under `worker`"
        raise _error(f"`{other}` and `{field}` must differ", address, fix)


def _task(config: Mapping[str, Any], jobs: Mapping[str, tuple[str, ...]]) -> Task:
    task = config.get("task", {})
    first = {"type": next(iter(jobs)), "index": 0}
    if task == {}:
        fix = f'add e.g. "task": {json.dumps(first)}'
        raise _error(
            "`task` is missing, so it is not defined which task this process is", config, fix
        )
    if not isinstance(task, dict):
        raise _error("`task` must be an object", task, f"try {json.dumps(first)}")
    task_type = _task_type(task, jobs)
    return Task(task_type, _task_index(task, task_type, jobs))


def _only_task(task: Any) -> Task:
    """The task of a TF_CONFIG that lists none. Raises where it cannot be the only one."""
    single = ClusterSpec().task
    if not isinstance(task, dict):
        fix = f"try {json.dumps({'type': single.type, 'index': 0})}"
        raise _error("`task` must be an object", task, fix)
    task_type, index = task.get("type") or single.type, task.get("index", 0)
    if type(index) is int and index == 0:
        if task_type == "evaluator":
            return Task(task_type, 0)
        if task_type in ("chief", single.type):
            return single  # Not a chief: the leader of no cluster is worker 0.
    problem = "`task` must be worker 0, chief 0 or evaluator 0 where `cluster` has no tasks"
    fix = f"try {EXAMPLE}, or set TF_CONFIG={{}} to train as a single task"
    raise _error(problem, task, fix)


def _task_type(task: Mapping[str, Any], jobs: Mapping[str, tuple[str, ...]]) -> str:
    if "type" not in task:
        raise _error("`task.type` is missing", task, f"write one of {', '.join(jobs)}")
    task_type = task["type"]
    if not isinstance(task_type, str) or task_type not in JOBS:
        raise _error(
            f"`task.type` must be one of {', '.join(jobs)}", task_type, _suggestion(task_type, jobs)
        )
    if task_type not in jobs and task_type != "evaluator":
        fix = f"add it to `cluster`, or use one of {', '.join(jobs)}"
        if task_type == "chief" and "worker" in jobs:
            fix = 'write "worker" with index 0, as worker 0 leads where there is no chief'
        raise _error("`task.type` must be a job of `cluster`", task_type, fix)
    return task_type


def _task_index(
    task: Mapping[str, Any], task_type: str, jobs: Mapping[str, tuple[str, ...]]
) -> int:
    if "index" not in task:
        raise _error("`task.index` is missing", task, 'add e.g. "index": 0')
    index = task["index"]
    if type(index) is not int:
        raise _error("`task.index` must be an integer", index, "write e.g. 0")
    last = len(jobs.get(task_type, [""])) - 1
    if not 0 <= index <= last:
        span = "0" if last == 0 else f"from 0 to {last}"
        raise _error(
            f"`task.index` must be {span} for {_article(task_type)}", index, _counting(jobs)
        )
    return index


def _article(job: str) -> str:
    return f"an {job}" if job == "evaluator" else f"a {job}"


def _counting(jobs: Mapping[str, tuple[str, ...]]) -> str:
    if "chief" in jobs:
        return "count the tasks of each job from 0; the chief is not counted among the workers"
    return "count the tasks of each job from 0"


def _check_jobs_together(jobs: Mapping[str, tuple[str, ...]]) -> None:
    if len(jobs.get("chief", ())) > 1:
        fix = "keep one, and list the others under `worker`"
        raise _error("`cluster.chief` must have one address", jobs["chief"], fix)
    if "ps" in jobs and "chief" not in jobs:
        fix = "add a `chief`, with its host:port"
        raise _error("a parameter-server cluster needs a `chief` to coordinate", jobs, fix)
    if "ps" in jobs and "worker" not in jobs:
        fix = "add a `worker`, with its host:port"
        raise _error("a parameter-server cluster needs a `worker` to compute", jobs, fix)
