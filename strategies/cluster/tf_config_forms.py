"""In which other forms is a TF_CONFIG written, with the same meaning? `canonical` turns them into one.

TensorFlow takes jobs without tasks, a cluster without jobs, indices in quotes, and addresses by their
index. Older tools write `master` for `chief`.
"""

import re
from collections.abc import Mapping
from typing import Any

_OLD_NAMES = {"master": "chief"}


def canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same cluster and task without empty jobs, with lists of addresses and integers as indices.

    What has no certain meaning is left as it is, for the checks that follow.
    """
    forms = {"cluster": _cluster, "task": _task}
    return {
        key: forms[key](value) if key in forms and isinstance(value, Mapping) else value
        for key, value in config.items()
        if not (key in forms and value is None)
    }


def _cluster(cluster: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _renamed(job, cluster): _listed(addresses)
        for job, addresses in cluster.items()
        if addresses not in ([], {}, None)
    }


def _renamed(job: str, cluster: Mapping[str, Any]) -> str:
    new = _OLD_NAMES.get(job, job)
    return job if new in cluster else new


def _listed(addresses: Any) -> Any:
    """The list of a mapping from every index, from 0, to an address."""
    if not isinstance(addresses, Mapping):
        return addresses
    indices = [str(index) for index in range(len(addresses))]
    return [addresses[index] for index in indices] if {*indices} == {*addresses} else addresses


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(task)
    if isinstance(found.get("type"), str):
        found["type"] = _OLD_NAMES.get(found["type"], found["type"])
    index: Any = found.get("index")
    is_quoted = isinstance(index, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", index, re.ASCII)
    if is_quoted or (isinstance(index, float) and index.is_integer()):
        found["index"] = int(index)
    return found
