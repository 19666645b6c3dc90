"""What would a TPU be given to run for a config?"""

import dataclasses

from strategies.runtime import State
from strategies.tpu import TpuRuntime
from strategies.tpu_trace import Traced, trace_only_strategy
from trainer import evaluate, task, train
from trainer.config import ExperimentConfig
from trainer.datasets import Dataset
from trainer.input_pipeline import InputPipeline
from trainer.schedule import Schedule
from trainer.steps import TrainingProgram


@dataclasses.dataclass(frozen=True)
class TpuProgram:
    """A run's loop and evaluation as `runtime` would hand them to a TPU, and the input of both."""

    runtime: TpuRuntime
    schedule: Schedule
    feed: InputPipeline
    test: evaluate.TestInput
    loop: Traced
    evaluation: Traced


def trace(config: ExperimentConfig, dataset: Dataset, num_cores: int) -> TpuProgram:
    """Traces what `train` would run on so many cores, from the first weights on.

    Raises ConfigError where the global batch does not divide among them.
    """
    task.check_replicas(config, num_cores)
    runtime = TpuRuntime("to look at", trace_only_strategy(num_cores))
    program = TrainingProgram(config, dataset, train.block_size(config, runtime))
    weights = program.initial_weights()
    order = train.sample_order(config, dataset)
    schedule = train.make_schedule(config, dataset, order, runtime)
    feed = train.train_input(config, dataset, order, runtime, schedule.steps_per_loop)
    test = evaluate.test_input(dataset, runtime)
    state = State(weights, program.initial_slots(weights))
    runtime.start(program, state, feed, test.pipeline, schedule.total_steps)
    elements = next(feed.elements(schedule.loops(0)))
    blocks = next(test.pipeline.elements(test.loops))
    loop = Traced(runtime.traced_loop(elements, schedule.steps_per_loop))
    evaluation = Traced(runtime.traced_evaluation(blocks))
    return TpuProgram(runtime, schedule, feed, test, loop, evaluation)
