"""What do all replicas of a program compute, each on its own virtual device of the CPU?

`python -m tests.tpu.virtual_devices HLO IN OUT`: IN has an array for each input, whose first axis is the
replicas; OUT gets the outputs in the same form. It runs in a separate process, because jax reads the
number of devices when it starts.
"""

import os
import subprocess
import sys
import tempfile

import numpy as np

_TIMEOUT_S = 300


def run(hlo: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs. Like the inputs, each has the replicas as its first axis."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("hlo", "in.npz", "out.npz")]
        with open(paths[0], "wb") as file:
            file.write(hlo)
        np.savez(paths[1], *inputs)
        command = [sys.executable, "-m", "tests.tpu.virtual_devices", *paths]
        devices = f"--xla_force_host_platform_device_count={len(inputs[0])}"
        environ = {
            **os.environ,
            "XLA_FLAGS": devices,
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_X64": "1",
        }
        subprocess.run(command, env=environ, timeout=_TIMEOUT_S, check=True)
        return _arrays(paths[2])


def main(hlo: str, source: str, target: str) -> None:
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from strategies.tpu.compiler import load, options

    devices = jax.devices("cpu")
    # It declares equal values on all devices, which the program does not rely on.
    sharding = NamedSharding(Mesh(np.array(devices), "replica"), PartitionSpec())

    def placed(array):
        parts = [jax.device_put(part, device) for part, device in zip(array, devices, strict=True)]
        return jax.make_array_from_single_device_arrays(array.shape[1:], sharding, parts)

    program = devices[0].client.compile_and_load(load(hlo), *options(devices))
    outputs = program.execute_sharded([placed(array) for array in _arrays(source)])
    parts = outputs.disassemble_into_single_device_arrays()
    np.savez(target, *(np.stack([np.asarray(part) for part in one]) for one in parts))


def _arrays(path: str) -> list[np.ndarray]:
    with np.load(path) as file:
        return [file[f"arr_{index}"] for index in range(len(file.files))]


if __name__ == "__main__":
    main(*sys.argv[1:])
