"""What do the weights in a checkpoint come to on the test set?"""

from strategies import create
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.runtime import State
from trainer.config.schema import ExperimentConfig
from trainer.data import registry
from trainer.model.step import TrainingProgram
from trainer.storage.workdir import Workdir
from trainer.training import assemble, evaluation, resume


class CheckpointEvaluator:
    """Evaluates checkpoints of one experiment, on these devices or on the TPU of the choice."""

    def __init__(
        self, choice: Choice, devices: list[str], config: ExperimentConfig, workdir: Workdir
    ):
        # First, as a TPU that is initialised forgets what was on it.
        self._runtime = create.create(choice, ClusterSpec(), devices)
        self._dataset = registry.load(config.data)
        self._program = TrainingProgram(config, self._dataset)
        self._test = evaluation.test_input(self._dataset, self._runtime)
        weights = self._program.initial_weights()
        state = State(weights, self._program.initial_slots(weights))
        pipeline = self._test.pipeline
        self._runtime.start(self._program, state, pipeline, pipeline, num_steps=0)
        self.store = resume.checkpoint_store(config, self._program, self._dataset, workdir)
        self.steps_per_epoch = -(-len(self._dataset.train) // config.data.global_batch_size)
        self.total_steps = assemble.total_steps(config, self.steps_per_epoch)

    def evaluate(self, step: int) -> dict[str, float]:
        """The test metrics of the checkpoint of `step`. Raises CheckpointError."""
        self._runtime.restore(self.store.read(step).state)
        return evaluation.evaluate(self._runtime, self._test, self._program.metric_name)
