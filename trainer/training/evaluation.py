"""How well does a model do on exactly the examples of the validation or the test split?

`evaluate` returns the mean loss and metric over a split. A split is cut into blocks of a fixed size
whose sums are added in a fixed order, in float64; a replica computes whole blocks. So any number of
replicas gives the same numbers as one.
"""

import dataclasses

from strategies.runtime import Runtime
from trainer.data.dataset import Dataset, joined
from trainer.data.input_pipeline import InputPipeline, choose_placement
from trainer.model.step import TrainingProgram
from trainer.order.evaluation_order import EvaluationOrder
from trainer.order.schedule import Loop

BLOCK = 250  # Examples. Divides MNIST's 10,000 test examples.
_BLOCKS_PER_LOOP = 40
# The name of a split's metrics in metrics.jsonl.
EVENTS = {"validation": "validation", "test": "eval"}


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationInput:
    """The blocks of one split, dealt to the replicas in turn. `event`: what its metrics are logged as.

    The splits of a run share one pipeline, as a runtime has one input to evaluate.
    """

    pipeline: InputPipeline
    loops: list[Loop]
    event: str


def evaluation_inputs(dataset: Dataset, runtime: Runtime) -> tuple[EvaluationInput, ...]:
    """The splits to evaluate, in their order, for the replicas of `runtime`.

    The first is evaluated during the run, the last (the test split) at its end.
    """
    splits = {EVENTS[name]: split for name, split in dataset.splits.items() if name in EVENTS}
    replicas = runtime.num_replicas
    order = EvaluationOrder([*map(len, splits.values())], BLOCK * replicas)
    per_loop = min(order.steps_per_epoch, max(1, _BLOCKS_PER_LOOP // replicas))
    split = joined([*splits.values()])
    placement = choose_placement(split, "auto")
    pipeline = InputPipeline(split, order, replicas, runtime.local_replicas, per_loop, placement)
    return tuple(
        EvaluationInput(pipeline, _loops(rows, per_loop), event)
        for event, rows in zip(splits, order.rows, strict=True)
    )


def _loops(rows: range, per_loop: int) -> list[Loop]:
    return [Loop(first, min(per_loop, rows.stop - first)) for first in rows[::per_loop]]


def evaluate(
    runtime: Runtime, split: EvaluationInput, program: TrainingProgram
) -> dict[str, float]:
    """The mean loss and the metrics over a split, with the runtime's present weights."""
    blocks = runtime.evaluate(split.pipeline.loop_inputs(split.loops))
    return program.means(blocks.sum(axis=0))
