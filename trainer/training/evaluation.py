"""How well does a model do on exactly the test examples?

`evaluate` returns the mean loss and metric over the test set. The set is cut into blocks of a fixed size
whose sums are added in a fixed order, in float64; a replica computes whole blocks. So any number of
replicas gives the same numbers as one.
"""

import dataclasses

from strategies.runtime import Runtime
from trainer.data.dataset import Split
from trainer.data.input_pipeline import InputPipeline, choose_placement
from trainer.model.step import TrainingProgram
from trainer.order.sample_order import SampleOrder
from trainer.order.schedule import Loop

BLOCK = 250  # Examples. Divides MNIST's 10,000 test examples.
_BLOCKS_PER_LOOP = 40


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationInput:
    """The blocks of the test set, dealt to the replicas in turn."""

    pipeline: InputPipeline
    loops: list[Loop]


def evaluation_input(split: Split, runtime: Runtime) -> EvaluationInput:
    """The blocks of `split`, in its order, for the replicas of `runtime`."""
    replicas = runtime.num_replicas
    order = SampleOrder(len(split), BLOCK * replicas, seed=0, shuffle=False)
    rows = order.steps_per_epoch
    per_loop = min(rows, max(1, _BLOCKS_PER_LOOP // replicas))
    pipeline = InputPipeline(
        split, order, replicas, runtime.local_replicas, per_loop, choose_placement(split, "auto")
    )
    loops = [Loop(first, min(per_loop, rows - first)) for first in range(0, rows, per_loop)]
    return EvaluationInput(pipeline, loops)


def evaluate(runtime: Runtime, test: EvaluationInput, program: TrainingProgram) -> dict[str, float]:
    """The mean loss and the metrics over the test set, with the runtime's present weights."""
    blocks = runtime.evaluate(test.pipeline.loop_inputs(test.loops))
    return program.means(blocks.sum(axis=0))
