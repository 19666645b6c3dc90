"""Which value differs between tasks that must be equal on all of them?

`difference` compares the tasks' fingerprints field by field, and returns the error that names the first
field that differs, with its values and their tasks.
"""

import itertools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from strategies.errors import ClusterError
from strategies.network.wire_text import printable_line

BAD_INPUT = "bad_input"  # In a fingerprint: why its task ends, which ends the others too.
IF_PRESENT = "if_present"  # What is in this part is compared where the leader has it too.
_MAX_NAME_CHARACTERS = 100
_Task = TypeVar("_Task", bound=Hashable)  # A `Task`, or another name of a process.


def plain(value: Any) -> Any:
    """The value as JSON would decode it, so that equal values compare equal: a tuple is a list."""
    return json.loads(json.dumps(value))


def difference(fingerprints: Mapping[_Task, Mapping[str, Any]]) -> ClusterError | None:
    """The error that names the first field in which fingerprints differ; None where all are equal.

    A task that ends with bad input has its reason in the fingerprint, and the error is that reason.

    `fingerprints`: by task, the leader first, names to JSON values or, nested, to such mappings.
    """
    for fingerprint in fingerprints.values():
        if reason := fingerprint.get(BAD_INPUT):
            return ClusterError(str(reason))
    flat = {task: dict(_flat(fingerprint)) for task, fingerprint in fingerprints.items()}
    fields = dict.fromkeys(itertools.chain.from_iterable(flat.values()))
    differing = [
        field
        for field in fields
        if len({json.dumps(value) for value in _compared(field, [*flat.values()])}) > 1
    ]
    if not differing:
        return None
    names = [_shown(field) for field in differing[:4]]
    also = f" (and `{'`, `'.join(names[1:])}` differ too)" if names[1:] else ""
    return ClusterError(
        f"`{names[0]}` must be the same on every task. Received: "
        f"{_values(differing[0], flat)}{also}; {_fix(differing[0])}."
    )


def _compared(field: str, fingerprints: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The values that must be equal. The first fingerprint is the leader's."""
    if not field.startswith(f"{IF_PRESENT}."):
        return [values.get(field) for values in fingerprints]
    present = [values[field] for values in fingerprints if field in values]
    return present if field in fingerprints[0] else []


def _shown(field: str) -> str:
    return printable_line(field.removeprefix(f"{IF_PRESENT}."), _MAX_NAME_CHARACTERS)


def listed(names: Sequence[str]) -> str:
    """The names in one line: "a, b and c". Of four or more names the first two: "a, b and 2 more"."""
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    *most, last = shown
    return f"{', '.join(most)} and {last}" if most else last


def _flat(fingerprint: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fingerprint.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _values(field: str, fingerprints: Mapping[_Task, Mapping[str, Any]]) -> str:
    """Each value with the tasks that have it: "64 on chief 0, 128 on worker 0 and worker 1"."""
    tasks_by_value: dict[str, list[str]] = {}
    for task, values in fingerprints.items():
        value = json.dumps(values[field]) if field in values else "none"
        tasks_by_value.setdefault(value, []).append(str(task))
    return ", ".join(f"{value} on {listed(tasks)}" for value, tasks in tasks_by_value.items())


def _fix(field: str) -> str:
    if field.startswith("cluster."):
        return "give every task the same `cluster`"
    return "give every task the same flags and packages"
