"""What is a run made of?

Of a `Computation` (the mathematics and the examples of every step), a `CheckpointPolicy`, a runtime and
the folders it writes to. `assemble.py` makes these values from a config; what takes them knows no config.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from strategies.runtime import Runtime
from strategies.state import State
from trainer.data.input_pipeline import InputPipeline
from trainer.metrics.timeline import Timeline
from trainer.metrics.trackers import Trackers
from trainer.model.step import TrainingProgram
from trainer.order.order import Order
from trainer.order.schedule import Schedule
from trainer.storage.checkpoints import CheckpointStore
from trainer.storage.workdir import Workdir
from trainer.training.balancing import Balancing
from trainer.training.evaluation import EvaluationInput
from trainer.training.run_end import RunEnd
from trainer.training.step_profile import StepProfile


@dataclasses.dataclass(frozen=True, eq=False)
class Computation:
    """What is computed in each step, and on which examples, by the replicas of one runtime."""

    program: TrainingProgram
    order: Order
    schedule: Schedule
    train_input: InputPipeline
    evaluations: tuple[EvaluationInput, ...]  # See `evaluation.evaluation_inputs`.
    balancing: Balancing
    # Of a recipe's own model, with the fingerprints of its files; None where the config describes it.
    architecture: dict[str, Any] | None = None

    @property
    def test_input(self) -> EvaluationInput:
        return self.evaluations[-1]

    def with_steps_per_loop(self, steps: int) -> "Computation":
        """The same computation in loops of at most `steps` steps."""
        return dataclasses.replace(
            self,
            schedule=dataclasses.replace(self.schedule, steps_per_loop=steps),
            train_input=self.train_input.with_steps_per_loop(steps),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class CheckpointPolicy:
    """Where checkpoints are stored, and when the run saves and restores one.

    The schedule says at which steps every task saves. `every_s`: the seconds after which the task that
    writes also saves, 0: never. `max_skipped`: batches with non-finite numbers that may be skipped.
    """

    store: CheckpointStore | None  # None: this task does not write.
    every_s: float
    max_skipped: int
    # Without a checkpoint. Only that of the task that writes counts.
    initial_state: Callable[[TrainingProgram], State] = TrainingProgram.initial_state


@dataclasses.dataclass(frozen=True, eq=False)
class RunParts:
    """Everything that `loop.train` needs to train one experiment on one task.

    `workdir` is None on the tasks that do not write. `examples_dir` is the folder in which this task
    logs the examples that its replicas consume; None: it does not log them. `end`: whether it ends before
    its last step.
    """

    runtime: Runtime
    computation: Computation
    checkpoints: CheckpointPolicy
    workdir: Workdir | None
    examples_dir: pathlib.Path | None
    end: RunEnd
    details: bool = False  # Whether TensorBoard gets histograms and the graph.
    timeline: Timeline = dataclasses.field(default_factory=Timeline)
    profile: StepProfile = dataclasses.field(default_factory=StepProfile)
    trackers: Trackers = dataclasses.field(default_factory=Trackers)
