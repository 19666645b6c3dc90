"""In what do tasks differ that must be alike?"""

import itertools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from strategies.errors import ClusterError


def plain(value: Any) -> Any:
    """The value as it is after a journey through JSON, so that equal values compare equal."""
    return json.loads(json.dumps(value))


def difference(everyone: Mapping[Hashable, Mapping[str, Any]]) -> ClusterError | None:
    """The error that names the first field in which tasks differ, or None.

    `everyone`: who carries what, which is JSON, or such mappings nested.
    """
    carried = {task: dict(_flat(fingerprint)) for task, fingerprint in everyone.items()}
    fields = dict.fromkeys(itertools.chain.from_iterable(carried.values()))
    differing = [
        field
        for field in fields
        if len({json.dumps(values.get(field)) for values in carried.values()}) > 1
    ]
    if not differing:
        return None
    also = f" (and `{'`, `'.join(differing[1:4])}` differ too)" if differing[1:] else ""
    return ClusterError(
        f"`{differing[0]}` must be the same on every task. Received: "
        f"{_values(differing[0], carried)}{also}; {_way_out(differing[0])}."
    )


def listed(names: Sequence[str]) -> str:
    """The names in one line: "a, b and c", and of more than three the first two."""
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    *most, last = shown
    return f"{', '.join(most)} and {last}" if most else last


def _flat(fingerprint: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fingerprint.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _values(field: str, carried: Mapping[Hashable, Mapping[str, Any]]) -> str:
    """Each value with the tasks that carry it: "64 on chief 0, 128 on worker 0 and worker 1"."""
    holders: dict[str, list[str]] = {}
    for task, values in carried.items():
        value = json.dumps(values[field]) if field in values else "none"
        holders.setdefault(value, []).append(str(task))
    return ", ".join(f"{value} on {listed(tasks)}" for value, tasks in holders.items())


def _way_out(field: str) -> str:
    if field.startswith("cluster."):
        return "give every task the same `cluster`"
    return "give every task the same flags and packages"
