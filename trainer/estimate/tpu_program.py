"""Which program would a TPU run?

`trace` returns the loop and the evaluation that a run's runtime would send to the TPU. It traces them for
a number of cores, and needs no TPU.
"""

import contextlib
import dataclasses
from collections.abc import Callable

from strategies.runtime import Runtime
from strategies.state import State
from strategies.tpu.runtime import TpuRuntime
from strategies.tpu.trace import Traced, trace_only_strategy, without_values
from trainer.training.parts import Computation


@dataclasses.dataclass(frozen=True, eq=False)
class TpuProgram:
    """A run's loop and evaluation as `runtime` would send them to a TPU, and the state at step 0."""

    runtime: TpuRuntime
    computation: Computation
    state: State
    loop: Traced
    evaluation: Traced


def trace(
    computation_for: Callable[[Runtime], Computation], num_cores: int, with_values: bool = True
) -> TpuProgram:
    """Traces what `train` would run on `num_cores` cores, from step 0.

    `computation_for` returns what the run computes on a runtime. Without values the cores hold no
    weights, and the model may be larger than this machine.

    Raises ConfigError where the global batch does not divide among the cores.
    """
    with contextlib.nullcontext() if with_values else without_values():
        return _trace(computation_for, num_cores, with_values)


def _trace(
    computation_for: Callable[[Runtime], Computation], num_cores: int, with_values: bool
) -> TpuProgram:
    runtime = TpuRuntime("to trace it", trace_only_strategy(num_cores))
    computation = computation_for(runtime)
    program, schedule = computation.program, computation.schedule
    train, test = computation.train_input, computation.test_input
    state = program.initial_state() if with_values else State(*program.shapes())
    runtime.start(program, state, train, test.pipeline, schedule.total_steps)
    loop_inputs = next(train.loop_inputs(schedule.loops(0)))
    blocks = next(test.pipeline.loop_inputs(test.loops))
    loop = Traced(runtime.traced_loop(loop_inputs, schedule.steps_per_loop))
    evaluation = Traced(runtime.traced_evaluation(blocks))
    return TpuProgram(runtime, computation, state, loop, evaluation)
