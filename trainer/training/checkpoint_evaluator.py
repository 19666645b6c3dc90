"""Which loss and metric do the weights in a checkpoint have on the test set?

`CheckpointEvaluator` loads them into a runtime and evaluates them there.
"""

import dataclasses

from strategies.runtime import Runtime
from trainer.model.step import TrainingProgram
from trainer.storage.checkpoints import CheckpointStore
from trainer.training import evaluation
from trainer.training.evaluation import EvaluationInput


@dataclasses.dataclass(frozen=True, eq=False)
class CheckpointEvaluator:
    """Evaluates the checkpoints of one experiment. Creating one starts the runtime."""

    runtime: Runtime
    program: TrainingProgram
    test_input: EvaluationInput
    store: CheckpointStore
    steps_per_epoch: int
    total_steps: int  # Of the whole run.

    def __post_init__(self):
        state = self.program.initial_state()
        pipeline = self.test_input.pipeline
        self.runtime.start(self.program, state, pipeline, pipeline, num_steps=0)

    def evaluate(self, step: int) -> dict[str, float]:
        """The test metrics of the checkpoint of `step`. Raises CheckpointError."""
        self.runtime.restore(self.store.read(step).state)
        return evaluation.evaluate(self.runtime, self.test_input, self.program)
