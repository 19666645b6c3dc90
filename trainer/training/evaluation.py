"""How well does a model do on exactly the test examples?

The test set is cut into blocks of a fixed size whose sums are added in a fixed order, in float64. A
replica computes whole blocks, so any number of replicas gives the same number as one.
"""

import dataclasses

from strategies.runtime import Runtime
from trainer.data.dataset import Dataset
from trainer.data.input_pipeline import InputPipeline, choose_placement
from trainer.metrics.means import means
from trainer.order.sample_order import SampleOrder
from trainer.order.schedule import Loop

BLOCK = 250  # Divides MNIST's 10,000 test examples.
_BLOCKS_PER_LOOP = 40


@dataclasses.dataclass(frozen=True)
class TestInput:
    """The blocks of the test set, dealt to the replicas in turn."""

    pipeline: InputPipeline
    loops: list[Loop]


def test_input(dataset: Dataset, runtime: Runtime) -> TestInput:
    replicas = runtime.num_replicas
    order = SampleOrder(len(dataset.test), BLOCK * replicas, seed=0, shuffle=False)
    rows = order.steps_per_epoch
    per_loop = min(rows, max(1, _BLOCKS_PER_LOOP // replicas))
    pipeline = InputPipeline(
        dataset.test, order, replicas, runtime.local_replicas, per_loop,
        choose_placement(dataset.test, "auto"),
    )  # fmt: skip
    loops = [Loop(first, min(per_loop, rows - first)) for first in range(0, rows, per_loop)]
    return TestInput(pipeline, loops)


def evaluate(runtime: Runtime, test: TestInput, metric_name: str) -> dict[str, float]:
    """The mean loss and metric over the test set, with the runtime's present weights."""
    blocks = runtime.evaluate(test.pipeline.elements(test.loops))
    return means(blocks.sum(axis=0), metric_name)
