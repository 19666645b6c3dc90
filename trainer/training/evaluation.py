"""How well does a model do on exactly the examples of the validation or the test split?

`evaluate` returns the mean loss and metric over a split. A split is cut into blocks of a fixed size
whose sums are added in a fixed order, in float64; a replica computes whole blocks. So any number of
replicas gives the same numbers as one.
"""

import dataclasses

import tensorflow as tf

from strategies.collectives.leaf_runs import LeafRuns
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

    def with_runs(self, runs: LeafRuns) -> "EvaluationInput":
        """The same blocks, of which the replicas evaluate others."""
        return dataclasses.replace(self, pipeline=self.pipeline.with_runs(runs))


def evaluation_inputs(
    dataset: Dataset, runtime: Runtime, runs: LeafRuns | None = None
) -> tuple[EvaluationInput, ...]:
    """The splits to evaluate, in their order, for the replicas of `runtime`.

    The first is evaluated during the run, the last (the test split) at its end. `runs`: which of some
    neighbouring blocks each replica evaluates; None: one each.
    """
    number, own = runtime.evaluating_replicas
    runs = runs or LeafRuns((1,) * number)
    splits = {EVENTS[name]: split for name, split in dataset.splits.items() if name in EVENTS}
    order = EvaluationOrder([*map(len, splits.values())], BLOCK * runs.num_leaves)
    per_loop = min(order.steps_per_epoch, max(1, _BLOCKS_PER_LOOP // runs.num_leaves))
    split = joined([*splits.values()])
    placement = choose_placement(split, "auto")
    pipeline = InputPipeline(split, order, runs, own, per_loop, placement)
    return tuple(
        EvaluationInput(pipeline, _loops(rows, per_loop), event)
        for event, rows in zip(splits, order.rows, strict=True)
    )


def graph(split: EvaluationInput, program: TrainingProgram) -> tf.Graph:
    """The model as TensorFlow evaluates it on a batch of the split, to be looked at."""
    weights, _, layer_state = tf.nest.map_structure(
        lambda array: tf.TensorSpec(array.shape, array.dtype), program.shapes()
    )
    traced = tf.function(program.outputs, autograph=False)
    return traced.get_concrete_function(weights, split.pipeline.batch_specs(), layer_state).graph


def _loops(rows: range, per_loop: int) -> list[Loop]:
    return [Loop(first, min(per_loop, rows.stop - first)) for first in rows[::per_loop]]


def evaluate(
    runtime: Runtime, split: EvaluationInput, program: TrainingProgram
) -> dict[str, float]:
    """The mean loss and the metrics over a split, with the runtime's present weights."""
    blocks = runtime.evaluate(split.pipeline.loop_inputs(split.loops))
    return program.means(blocks.sum(axis=0))
