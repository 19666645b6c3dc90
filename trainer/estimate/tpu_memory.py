"""Does a run fit in the memory of a TPU's cores, and its compilation in that of this machine?

`check_state` counts the state and the resident data before anything is compiled, `check` counts all
afterwards: the compiler refuses only what it needs in addition, and only after minutes where that is
large.
"""

import math
import pathlib
import resource
from collections.abc import Iterable

import numpy as np

from strategies.state import State
from trainer.config.fields import ConfigError

# GiB of a core's memory that a program can use: the limit in the compiler's own error message.
HBM_GIB = {"v4": 30.75, "v5e": 15.75, "v5p": 95.74, "v6e": 31.25}
# Measured with 50,000 to 2,000,000 hidden units: the compiler holds an array like the largest weights.
_HOST_GIB, _HOST_PER_WEIGHT = 1.0, 1.25
_GIB = 2**30
_FIX = "lower `model.hidden_units`, or stream the data (`data.placement=stream`)"
_CGROUP = pathlib.Path("/sys/fs/cgroup")
_MEMINFO = pathlib.Path("/proc/meminfo")


def check_state(topology: str, state: State, resident: Iterable[np.ndarray]) -> None:
    """Raises ConfigError where the weights, their slots and the data do not fit in a core."""
    slots = [slot for own in state.slots for slot in own]
    arrays = [*state.weights, *slots, *state.layer_state, *resident]
    check(topology, sum(array.nbytes for array in arrays), "of state and data alone")


def room_gib(topology: str) -> float:
    """The GiB that a core of this topology has for a program."""
    return HBM_GIB[topology.partition(":")[0]]


def check(topology: str, needed: float, what: str) -> None:
    """Raises ConfigError where a core has fewer than `needed` bytes; `what` says what they are for."""
    capacity = room_gib(topology)
    if needed > capacity * _GIB:
        raise does_not_fit(topology, f"{needed / _GIB:,.2f} GiB {what}", f"{capacity:,.2f} GiB")


def does_not_fit(topology: str, needed: str, capacity: str) -> ConfigError:
    return ConfigError(
        f"`--tpu_topology` names cores that the run does not fit: it needs {needed}, of {capacity}. "
        f"Received: {topology!r}; {_FIX}."
    )


def check_host(state: State, available: float) -> None:
    """Raises ConfigError where compiling takes more than the `available` bytes of this machine."""
    weights = sum(weight.nbytes for weight in state.weights)
    needed = _HOST_GIB * _GIB + _HOST_PER_WEIGHT * weights
    if needed > available:
        raise ConfigError(
            f"`--tpu_topology` compiles for weights of {weights / _GIB:,.1f} GiB, which takes this "
            f"machine about {needed / _GIB:,.1f} GiB of memory. Received: {available / _GIB:,.1f} GiB "
            "free; use a larger machine, or lower `model.hidden_units`."
        )


def available_bytes(meminfo: pathlib.Path = _MEMINFO, cgroup: pathlib.Path = _CGROUP) -> float:
    """The bytes this process can still allocate: within its machine, its container and its own limit."""
    return min(_of_machine(meminfo), _of_container(cgroup), _of_process())


def _of_machine(meminfo: pathlib.Path) -> float:
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _of_container(cgroup: pathlib.Path) -> float:
    """From cgroups, version 2; infinity without them, or without a limit."""
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
