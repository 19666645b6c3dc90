"""Which loss and metrics do the weights in a checkpoint have on a split?

`CheckpointEvaluator` loads them into a runtime and evaluates them there.
"""

import dataclasses

from strategies.apart import replica_state
from strategies.errors import InputError
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
    evaluations: tuple[EvaluationInput, ...]  # See `evaluation.evaluation_inputs`.
    store: CheckpointStore
    steps_per_epoch: int
    total_steps: int  # Of the whole run.

    def __post_init__(self):
        state = self.program.initial_state()
        pipeline = self.evaluations[0].pipeline
        self.runtime.start(self.program, state, pipeline, pipeline, num_steps=0)

    @property
    def monitored(self) -> EvaluationInput:
        """The split that is evaluated during the run."""
        return self.evaluations[0]

    def split(self, name: str) -> EvaluationInput:
        """Raises InputError where the run has no such split."""
        for found in self.evaluations:
            if found.event == evaluation.EVENTS[name]:
                return found
        raise InputError(
            f"`--split` must be test for a run without a validation split. Received: {name}; use test, "
            "or train with --config.data.validation_fraction=0.1."
        )

    def evaluate(self, step: int, split: EvaluationInput) -> dict[str, float]:
        """The metrics of the checkpoint of `step`. Raises CheckpointError."""
        state = replica_state.of_one(self.store.read(step).state, self.program)
        self.runtime.restore(state)
        return evaluation.evaluate(self.runtime, split, self.program)
