"""Is a model that does not fit in a TPU, or in this machine, refused before it is compiled?"""

import subprocess
import sys

import numpy as np
import pytest

from strategies.state import State
from tests.paths import ROOT
from trainer.config.fields import ConfigError
from trainer.estimate import tpu_memory

_GIB = 2**30


def _bytes(gib):
    """An array of `gib` GiB that takes no memory."""
    return np.broadcast_to(np.zeros((), np.float32), (int(gib * _GIB / 4),))


def _state(gib, slots):
    return State([_bytes(gib)], [[_bytes(gib)] * slots])


@pytest.mark.parametrize("kind, room", tpu_memory.HBM_GIB.items())
def test_weights_slots_and_data_are_counted_to_the_byte(kind, room):
    topology = f"{kind}:2x2"
    data = [_bytes(room - 3 * 4)]
    tpu_memory.check_state(topology, _state(4, 2), data)
    with pytest.raises(ConfigError) as caught:
        tpu_memory.check_state(topology, _state(4, 2), [*data, _bytes(0.1)])
    assert str(caught.value) == (
        f"`--tpu_topology` names cores that the run does not fit: it needs {room + 0.1:.2f} GiB of state "
        f"and data alone, of {room:.2f} GiB. Received: '{topology}'; lower `model.hidden_units`, or "
        "stream the data (`data.placement=stream`)."
    )


def test_a_machine_with_too_little_memory_to_compile_is_refused():
    tpu_memory.check_host(_state(4, 2), 6.1 * _GIB)
    with pytest.raises(ConfigError) as caught:
        tpu_memory.check_host(_state(4, 2), 5.9 * _GIB)
    assert str(caught.value) == (
        "`--tpu_topology` compiles for weights of 4.0 GiB, which takes this machine about 6.0 GiB of "
        "memory. Received: 5.9 GiB free; use a larger machine, or lower `model.hidden_units`."
    )


def test_the_available_memory_is_the_least_of_machine_container_and_process(tmp_path):
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal:       9000 kB\nMemAvailable:   4000 kB\n")
    assert tpu_memory.available_bytes(machine, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert tpu_memory.available_bytes(machine, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert tpu_memory.available_bytes(machine, tmp_path) == 4000


def test_a_process_limit_counts_minus_the_memory_in_use():
    code = (
        "import resource; from trainer.estimate import tpu_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "print(tpu_memory.available_bytes())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert 0 < float(done.stdout) < 8 * _GIB
