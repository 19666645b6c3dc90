"""Does the TPU's own compiler accept a program, and what does it report about it?

`python -m strategies.tpu.compiler TOPOLOGY FILE...` compiles the HLO of one replica in each FILE for all
devices of a topology (v5e:2x4), and prints the results as JSON. It needs jax and libtpu, but no TPU, and
runs in a separate process, because TensorFlow loads another copy of the same libraries.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

# A chip of v4 has two cores, which programs use as one by default.
_CHIPS = {"v4": {"chip_config_name": "megacore"}}


def main(topology: str, *paths: str) -> None:
    """Prints {"error": …}, or {"figures": […]}: for each file the compiler's figures for one device."""
    # Else it polls Google Cloud's metadata server for minutes.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    # The parent process may hold the library's lock.
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from jax.experimental import topologies

    try:
        config = _CHIPS.get(topology.partition(":")[0], {})
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **config)
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
    """The HLO in a file as a module for jax's compilers."""
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
    """HLO's copy returns its operand, and the dialect of jax's compilers has no such operation."""
    copies = []

    def visit(operation):
        if operation.operation.name == "mhlo.copy":
            copies.append(operation.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for copy in copies:
        copy.results[0].replace_all_uses_with(copy.operands[0])
        copy.erase()


def options(devices: Sequence[Any]) -> tuple:
    """The arguments of jax's compilers for devices that are one replica each."""
    import numpy as np
    from jax._src.lib import _jax, xla_client

    compile_options = xla_client.CompileOptions()
    assigned = np.array([[device.id] for device in devices], np.int32)
    for one in (compile_options, compile_options.executable_build_options):
        one.num_replicas, one.num_partitions = len(devices), 1
        one.device_assignment = xla_client.DeviceAssignment.create(assigned)
    return _jax.DeviceList(tuple(devices)), compile_options


if __name__ == "__main__":
    main(*sys.argv[1:])
