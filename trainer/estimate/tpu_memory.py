"""Does a run fit the memory of a TPU's cores, and its compilation that of this machine?

The compiler itself refuses only what it needs beside the state, after minutes where that is large. So the
state and the resident data are counted before it is asked, and all together afterwards.
"""

import math
import pathlib
import resource
from collections.abc import Iterable

import numpy as np

from strategies.runtime import State
from trainer.config.fields import ConfigError

# What a program can have of the memory of a core, in the words of the compiler that refuses more.
HBM_GIB = {"v4": 30.75, "v5e": 15.75, "v5p": 95.74, "v6e": 31.25}
# Measured, of 50,000 to 2,000,000 hidden units: the compiler keeps an array like the largest weights.
_HOST_GIB, _HOST_PER_WEIGHT = 1.0, 1.25
_GIB = 2**30
_WAY_OUT = "lower `model.hidden_units`, or stream the data (`data.placement=stream`)"
_CGROUP = pathlib.Path("/sys/fs/cgroup")
_MEMINFO = pathlib.Path("/proc/meminfo")


def check_state(topology: str, state: State, resident: Iterable[np.ndarray]) -> None:
    """Raises ConfigError where the weights, their slots and the data are too much for a core."""
    arrays = [*state.weights, *(slot for own in state.slots for slot in own), *resident]
    check(topology, sum(array.nbytes for array in arrays), "of state and data alone")


def room_gib(topology: str) -> float:
    """What a core of this topology has."""
    return HBM_GIB[topology.partition(":")[0]]


def check(topology: str, needed: float, what: str) -> None:
    """Raises ConfigError where a core has fewer bytes than are needed."""
    capacity = room_gib(topology)
    if needed > capacity * _GIB:
        raise does_not_fit(topology, f"{needed / _GIB:,.2f} GiB {what}", f"{capacity:,.2f} GiB")


def does_not_fit(topology: str, needed: str, capacity: str) -> ConfigError:
    return ConfigError(
        f"`--tpu_topology` names cores that the run does not fit: it needs {needed}, of {capacity}. "
        f"Received: {topology!r}; {_WAY_OUT}."
    )


def check_host(state: State, available: float) -> None:
    """Raises ConfigError where a compilation takes more than the bytes that this machine has left."""
    weights = sum(weight.nbytes for weight in state.weights)
    needed = _HOST_GIB * _GIB + _HOST_PER_WEIGHT * weights
    if needed > available:
        raise ConfigError(
            f"`--tpu_topology` compiles for weights of {weights / _GIB:,.1f} GiB, which takes this "
            f"machine about {needed / _GIB:,.1f} GiB of memory. Received: {available / _GIB:,.1f} GiB "
            "free; use a larger machine, or lower `model.hidden_units`."
        )


def available_bytes(meminfo: pathlib.Path = _MEMINFO, cgroup: pathlib.Path = _CGROUP) -> float:
    """What this process can still have: of the machine, of its container, and of its own limit."""
    return min(_of_machine(meminfo), _of_container(cgroup), _of_process())


def _of_machine(meminfo: pathlib.Path) -> float:
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _of_container(cgroup: pathlib.Path) -> float:
    """By cgroups of version 2; without them, or without a limit, infinity."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return math.inf
    return math.inf if limit == "max" else int(limit) - used


def _of_process() -> float:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    return math.inf if limit == resource.RLIM_INFINITY else limit - pages * resource.getpagesize()
