"""What does the TPU's own compiler make of a program?

`python -m strategies.tpu.compiler TOPOLOGY FILE...`, where each FILE holds the HLO of one replica,
compiles them for all devices of a topology (v5e:2x4) and prints what it found as JSON. Needs jax and
libtpu, but no TPU; a process of its own, as TensorFlow brings another copy of the same libraries.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

# A chip of v4 has two cores, which programs take as one unless they ask for each.
_CHIPS = {"v4": {"chip_config_name": "megacore"}}


def main(topology: str, *paths: str) -> None:
    """Prints {"error": …}, or {"figures": […]} with the compiler's figures for one device."""
    os.environ["TPU_SKIP_MDS_QUERY"] = (
        "1"  # It would look for a Google Cloud around it, for minutes.
    )
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = (
        "1"  # Whoever started this may hold the library's lock.
    )
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from jax.experimental import topologies

    try:
        how = _CHIPS.get(topology.partition(":")[0], {})
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **how)
        devices = found.devices
        print(json.dumps({"figures": [_compiled(path, devices) for path in paths]}))
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        print(json.dumps({"error": str(error)}))


def _compiled(path: str, devices: Sequence[Any]) -> dict[str, Any]:
    began = time.monotonic()
    program = devices[0].client.compile(load(path), *options(devices))
    seconds = time.monotonic() - began
    memory, cost = program.get_compiled_memory_stats(), program.cost_analysis()
    text = program.hlo_modules()[0].to_string()
    return {
        "kind": devices[0].device_kind,
        "devices": len(devices),
        "seconds": seconds,
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        "argument_bytes": memory.argument_size_in_bytes,
        "scratch_bytes": memory.temp_size_in_bytes,
        "code_bytes": memory.generated_code_size_in_bytes,
        "exchanges": text.count(" all-reduce(") + text.count(" all-reduce-start("),
    }


def load(path: str):
    """The HLO in a file as the module that jax's compilers take."""
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax, xla_client
    from jax._src.lib.mlir import ir

    with open(path, "rb") as file:
        computation = xla_client.XlaComputation(file.read())
    context = mlir.make_ir_context()
    context.allow_unregistered_dialects = True
    module = ir.Module.parse(_jax.mlir.xla_computation_to_mlir_module(computation), context)
    _drop_copies(module, ir)
    return module


def _drop_copies(module, ir) -> None:
    """HLO's copy gives what it is given, and the dialect that the compilers take has none."""
    copies = []

    def look(operation):
        if operation.operation.name == "mhlo.copy":
            copies.append(operation.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(look)
    for copy in copies:
        copy.results[0].replace_all_uses_with(copy.operands[0])
        copy.erase()


def options(devices: Sequence[Any]) -> tuple:
    """What jax's compilers are told of devices that are a replica each."""
    import numpy as np
    from jax._src.lib import _jax, xla_client

    told = xla_client.CompileOptions()
    assigned = np.array([[device.id] for device in devices], np.int32)
    for one in (told, told.executable_build_options):
        one.num_replicas, one.num_partitions = len(devices), 1
        one.device_assignment = xla_client.DeviceAssignment.create(assigned)
    return _jax.DeviceList(tuple(devices)), told


if __name__ == "__main__":
    main(*sys.argv[1:])
