"""What does a TPU's compiler report about a program?

`compile_for` returns its `Figures`: FLOP, bytes moved, memory and exchanges of one core. That needs no
TPU, only the compiler in libtpu, which runs in a process of its own.
"""

import dataclasses
import json
import math
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any

from strategies.packages import version
from trainer.config.fields import ConfigError, short_json
from trainer.estimate import tpu_memory

_TOPOLOGY = re.compile(r"(v4|v5e|v5p|v6e):([1-9]\d*(?:x[1-9]\d*){1,2})")
_NEEDS = ("tensorflow-tpu", "jax", "libtpu")
_TIMEOUT_S = 900.0  # Three programs of 400,000 hidden units take 100 s.
_NO_ROOM = re.compile(r"RESOURCE_EXHAUSTED.*?Used ([\d.]+)(\w) of ([\d.]+)(\w) hbm", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Figures:
    """The compiler's figures for one core's part of a program; the steps of a loop count once."""

    kind: str
    devices: int
    seconds: float
    flops: float
    bytes: float
    argument_bytes: int
    scratch_bytes: int
    code_bytes: int
    exchanges: int

    @property
    def memory_bytes(self) -> int:
        """Bytes of a core's memory while it runs."""
        return self.argument_bytes + self.scratch_bytes + self.code_bytes


def num_cores(topology: str) -> int:
    """The replicas on a topology such as v5e:2x4. Raises ConfigError where it is not one."""
    match = _TOPOLOGY.fullmatch(topology)
    if not match:
        raise ConfigError(
            "`--tpu_topology` must be a kind (v4, v5e, v5p or v6e) and its chips, as in v5e:2x4 or "
            f"v4:2x2x1. Received: {short_json(topology)}; correct it."
        )
    return math.prod(map(int, match[2].split("x")))


def check_packages() -> None:
    """Raises ConfigError where the packages that compile for a TPU are not installed."""
    missing = [name for name in _NEEDS if not version(name)]
    if missing:
        raise ConfigError(
            f"`--tpu_topology` needs the packages {', '.join(_NEEDS)}. Received: a Python without "
            f"{', '.join(missing)}; run `make .venv-tpu`, and this with .venv-tpu/bin/python."
        )


def compile_for(topology: str, programs: list[bytes]) -> list[Figures]:
    """The figures of each HLO. Raises ConfigError, with the compiler's error, where it refuses one."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, f"{position}.hlo") for position in range(len(programs))]
        for path, program in zip(paths, programs, strict=True):
            path.write_bytes(program)
        answer = _run_compiler(topology, paths)
    if "error" in answer:
        raise _refused(topology, answer["error"])
    return [Figures(**one) for one in answer["figures"]]


def _run_compiler(topology: str, paths: list[pathlib.Path]) -> dict[str, Any]:
    command = [sys.executable, "-m", "strategies.tpu.compiler", topology, *map(str, paths)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _unfinished(topology, f"did not finish within {_TIMEOUT_S:g} s") from None
    if done.returncode < 0:  # By the system or an assertion of the compiler: both mean no memory.
        raise _unfinished(topology, f"was killed by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise RuntimeError(f"the TPU's compiler ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _unfinished(topology: str, how: str) -> ConfigError:
    return ConfigError(
        f"`--tpu_topology` runs the TPU's compiler on this machine, where it {how}. Received: "
        f"{topology!r}; use a larger machine, or lower `model.hidden_units`."
    )


def _refused(topology: str, problem: str) -> ConfigError:
    if found := _NO_ROOM.search(problem):
        needed, unit, capacity, of_unit = found.groups()
        return tpu_memory.does_not_fit(
            topology, f"at least {needed} {unit}iB", f"{capacity} {of_unit}iB"
        )
    return ConfigError(
        f"`--tpu_topology` was refused by the TPU's compiler ({problem}). Received: {topology!r}; "
        "choose another."
    )
