"""What would a run cost on a TPU: does it fit, and how much does a step compute, move and exchange?

`report` answers without a TPU: it traces the run's program for the cores of a topology and gives it to
the TPU's compiler.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from strategies import tensorflow_import
from trainer.estimate import tpu_compile, tpu_memory

if TYPE_CHECKING:
    from strategies.runtime import Runtime
    from trainer.training.parts import Computation

_MIB = 2**20


def report(topology: str, computation_for: "Callable[[Runtime], Computation]") -> str:
    """The figures of a run on a topology such as v5e:2x4, as text of three lines.

    `computation_for` returns what the run computes on a runtime; it is called once TensorFlow can be
    imported. The weights are arguments of what is compiled and have no values, so this machine need not
    hold the model, let alone a copy for each core.

    Raises ConfigError where the topology is not one, the run does not fit, or it cannot be compiled.
    """
    cores = tpu_compile.num_cores(topology)
    tpu_compile.check_packages()
    with tensorflow_import.quietly():
        from strategies.tpu.lowering import lower
        from trainer.estimate import tpu_program
    program = tpu_program.trace(computation_for, cores, with_values=False)
    computation = program.computation
    resident = (*computation.train_input.resident, *computation.test_input.pipeline.resident)
    tpu_memory.check_state(topology, program.state, resident)
    tpu_memory.check_host(program.state, tpu_memory.available_bytes())
    one_step = tpu_program.trace(
        lambda runtime: computation_for(runtime).with_steps_per_loop(1), cores, with_values=False
    )
    traced = (program.loop, program.evaluation, one_step.loop)
    loop, _, step = tpu_compile.compile_for(topology, [lower(one).hlo for one in traced])
    tpu_memory.check(topology, loop.memory_bytes, "of state, data, scratch and code")
    weights = sum(weight.nbytes for weight in program.state.weights)
    return "\n".join(
        [
            f"{topology}, {loop.devices} cores of {loop.kind}: it compiles, in {loop.seconds:.1f} s",
            f"a step on each core: {step.flops / 1e6:,.1f} MFLOP, {step.bytes / 1e6:,.1f} MB read and "
            f"written, {step.exchanges} exchange of {weights / 1e6:,.2f} MB",
            f"memory of each core: {loop.argument_bytes / _MIB:,.1f} MiB of data and state, "
            f"{loop.scratch_bytes / _MIB:,.1f} MiB for a loop of {computation.schedule.steps_per_loop} "
            f"steps, {loop.code_bytes / _MIB:,.1f} MiB of code, of "
            f"{tpu_memory.room_gib(topology):,.2f} GiB",
        ]
    )
