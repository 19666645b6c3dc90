"""Is a recipe's own model the same on every task, and the one that the run was begun with?

`agree` compares the tasks' architectures by a broadcast, and `record` compares with that of the workdir.
An architecture includes the fingerprints of the recipe's files. Both name the first difference.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from strategies.errors import ClusterError
from strategies.runtime import Runtime
from trainer.config.fields import short_json
from trainer.storage.atomic_files import WorkdirError, unwritable, write_json
from trainer.storage.safe_reading import read_json
from trainer.storage.workdir import Workdir

_FILE = "model.json"


def agree(runtime: Runtime, architecture: Mapping[str, Any]) -> None:
    """Compares this task's architecture with the leader's. All tasks must call it together.

    Raises ClusterError where they differ.
    """
    mine = np.frombuffer(json.dumps(architecture, sort_keys=True).encode(), np.uint8)
    length = int(runtime.broadcast(np.array([mine.size]))[0])
    padded = np.zeros(length, np.uint8)  # A broadcast needs one shape on all tasks.
    padded[: min(length, mine.size)] = mine[:length]
    theirs = json.loads(runtime.broadcast(padded).tobytes())
    if difference := _difference(theirs, architecture):
        name, of_leader, own = difference
        raise ClusterError(
            f"the recipe must make the same model on every task: `{name}` is {short_json(of_leader)} on "
            f"the leader. Received: {short_json(own)}; give every task the same recipe and packages."
        )


def record(workdir: Workdir, architecture: Mapping[str, Any]) -> None:
    """Compares with the architecture that the run in the workdir was begun with, or stores it.

    Raises WorkdirError where they differ, or it cannot be stored.
    """
    path = workdir.path / _FILE
    try:
        begun = read_json(path) if path.exists() else None
    except ValueError:
        begun = None  # Damaged, and written again; checkpoints have their own record of the model.
    except OSError as error:
        raise unwritable(path, error) from None
    if begun is not None and (difference := _difference(begun, architecture)):
        name, old, new = difference
        raise WorkdirError(
            f"`--workdir` was begun with another model: `{name}` was {short_json(old)}. Received: "
            f"{short_json(new)} for {workdir.name!r}; choose another folder, or use the old recipe."
        )
    if begun is None:
        write_json(path, dict(architecture))


def _difference(old: Any, new: Any) -> tuple[str, Any, Any] | None:
    """(name, old value, new value) of the first part that differs. Files come last: they say least."""
    before, after = dict(_flat(old)), dict(_flat(new))
    names = sorted({*before, *after}, key=lambda name: (name.startswith("sources"), name))
    for name in names:
        if before.get(name) != after.get(name):
            return name, before.get(name), after.get(name)
    return None


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, one in value.items():
            yield from _flat(one, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, value
