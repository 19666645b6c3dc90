"""What would a config cost on a TPU: does it fit, and how much is there to compute, move and exchange?

Answered without a TPU, by TensorFlow's own TPU kernels and the compiler that comes with libtpu.
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

from strategies import tensorflow_import
from strategies.packages import version
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig
from trainer.data import registry
from trainer.estimate import tpu_memory

_TOPOLOGY = re.compile(r"(v4|v5e|v5p|v6e):([1-9]\d*(?:x[1-9]\d*){1,2})")
_NEEDS = ("tensorflow-tpu", "jax", "libtpu")
_TIMEOUT_S = 900.0  # Three programs of 400,000 hidden units take 100 s.
_NO_ROOM = re.compile(r"RESOURCE_EXHAUSTED.*?Used ([\d.]+)(\w) of ([\d.]+)(\w) hbm", re.DOTALL)
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Figures:
    """What the TPU's compiler says of one core's part of a program; the steps of a loop count once."""

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
        """What a core holds while it runs."""
        return self.argument_bytes + self.scratch_bytes + self.code_bytes


def num_cores(topology: str) -> int:
    """The replicas on a topology, as in v5e:2x4. Raises ConfigError where that is none."""
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


def report(config: ExperimentConfig, topology: str) -> str:
    """The figures of a run in words. Raises ConfigError where it does not fit, or cannot be compiled.

    The weights are arguments of what is compiled and have no values, so that this machine need not hold
    the model, let alone a copy for each core.
    """
    cores = num_cores(topology)
    check_packages()
    dataset = registry.load(config.data)
    with tensorflow_import.quietly():
        from strategies.tpu.lowering import lower
        from trainer.estimate import tpu_program
    program = tpu_program.trace(config, dataset, cores, with_values=False)
    resident = (*program.feed.resident, *program.test.pipeline.resident)
    tpu_memory.check_state(topology, program.state, resident)
    tpu_memory.check_host(program.state, tpu_memory.available_bytes())
    one_step = dataclasses.replace(config.train, steps_per_loop=1)
    shortest = dataclasses.replace(config, train=one_step)
    traced = (
        program.loop,
        program.evaluation,
        tpu_program.trace(shortest, dataset, cores, with_values=False).loop,
    )
    loop, _, step = compile_for(topology, [lower(one).hlo for one in traced])
    tpu_memory.check(topology, loop.memory_bytes, "of state, data, scratch and code")
    weights = sum(weight.nbytes for weight in program.state.weights)
    steps = program.schedule.steps_per_loop
    return "\n".join(
        [
            f"{topology}, {loop.devices} cores of {loop.kind}: it compiles, in {loop.seconds:.1f} s",
            f"a step on each core: {step.flops / 1e6:,.1f} MFLOP, {step.bytes / 1e6:,.1f} MB read and "
            f"written, {step.exchanges} exchange of {weights / 1e6:,.2f} MB",
            f"memory of each core: {loop.argument_bytes / _MIB:,.1f} MiB of data and state, "
            f"{loop.scratch_bytes / _MIB:,.1f} MiB for a loop of {steps} steps, "
            f"{loop.code_bytes / _MIB:,.1f} MiB of code, of {tpu_memory.room_gib(topology):,.2f} GiB",
        ]
    )


def compile_for(topology: str, programs: list[bytes]) -> list[Figures]:
    """What the TPU's compiler says of each HLO. Raises ConfigError with its words where it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, f"{place}.hlo") for place in range(len(programs))]
        for path, program in zip(paths, programs, strict=True):
            path.write_bytes(program)
        said = _asked(topology, paths)
    if "error" in said:
        raise _refused(topology, said["error"])
    return [Figures(**one) for one in said["figures"]]


def _asked(topology: str, paths: list[pathlib.Path]) -> dict[str, Any]:
    command = [sys.executable, "-m", "strategies.tpu.compiler", topology, *map(str, paths)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _unfinished(topology, f"did not come to an end within {_TIMEOUT_S:g} s") from None
    if done.returncode < 0:  # By the system, or by itself: what is left to it is memory.
        raise _unfinished(topology, f"was ended by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise RuntimeError(f"the TPU's compiler ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _unfinished(topology: str, how: str) -> ConfigError:
    return ConfigError(
        f"`--tpu_topology` has the TPU's compiler work on this machine, where it {how}. Received: "
        f"{topology!r}; use a larger machine, or lower `model.hidden_units`."
    )


def _refused(topology: str, problem: str) -> ConfigError:
    if found := _NO_ROOM.search(problem):
        needed, unit, capacity, of_unit = found.groups()
        return tpu_memory.does_not_fit(
            topology, f"{needed} {unit}iB at the least", f"{capacity} {of_unit}iB"
        )
    return ConfigError(
        f"`--tpu_topology` was refused by the TPU's compiler ({problem}). Received: {topology!r}; "
        "name another."
    )
