"""What would a TPU be given to run for a config?"""

import contextlib
import dataclasses

from strategies.runtime import State
from strategies.tpu.runtime import TpuRuntime
from strategies.tpu.trace import Traced, trace_only_strategy, without_values
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.data.input_pipeline import InputPipeline
from trainer.model.step import TrainingProgram
from trainer.order.schedule import Schedule
from trainer.training import assemble, batch_split
from trainer.training import evaluation as evaluation_lib


@dataclasses.dataclass(frozen=True)
class TpuProgram:
    """A run's loop and evaluation as `runtime` would hand them to a TPU, and what both start from."""

    runtime: TpuRuntime
    state: State
    schedule: Schedule
    feed: InputPipeline
    test: evaluation_lib.TestInput
    loop: Traced
    evaluation: Traced


def trace(
    config: ExperimentConfig, dataset: Dataset, num_cores: int, with_values: bool = True
) -> TpuProgram:
    """Traces what `train` would run on so many cores, from the first weights on.

    Without values the cores hold nothing, and the model may be larger than this machine.

    Raises ConfigError where the global batch does not divide among them.
    """
    batch_split.check_replicas(config, num_cores)
    with contextlib.nullcontext() if with_values else without_values():
        return _traced(config, dataset, num_cores, with_values)


def _traced(
    config: ExperimentConfig, dataset: Dataset, num_cores: int, with_values: bool
) -> TpuProgram:
    runtime = TpuRuntime("to look at", trace_only_strategy(num_cores))
    program = TrainingProgram(config, dataset, assemble.block_size(config, runtime))
    weights, slots = program.shapes()
    if with_values:
        weights = program.initial_weights()
        slots = program.initial_slots(weights)
    state = State(weights, slots)
    order = assemble.sample_order(config, dataset)
    schedule = assemble.make_schedule(config, dataset, order, runtime)
    feed = assemble.train_input(config, dataset, order, runtime, schedule.steps_per_loop)
    test = evaluation_lib.test_input(dataset, runtime)
    runtime.start(program, state, feed, test.pipeline, schedule.total_steps)
    elements = next(feed.elements(schedule.loops(0)))
    blocks = next(test.pipeline.elements(test.loops))
    loop = Traced(runtime.traced_loop(elements, schedule.steps_per_loop))
    evaluation = Traced(runtime.traced_evaluation(blocks))
    return TpuProgram(runtime, state, schedule, feed, test, loop, evaluation)
