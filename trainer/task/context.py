"""What was this process asked to do? `TaskContext` holds the values that every part of a task needs."""

import dataclasses

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.devices.compile_cache.cache import CompileCache
from strategies.network.security import Security
from trainer.cli.options import TrainOptions
from trainer.config.schema import ExperimentConfig
from trainer.metrics.timeline import Timeline
from trainer.process.guardian import Guardian
from trainer.process.signals import StopRequest


@dataclasses.dataclass(frozen=True)
class TaskContext:
    """`choice` has no transport yet: that depends on the devices. `security`: that of connections."""

    options: TrainOptions
    config: ExperimentConfig
    cluster: ClusterSpec
    choice: Choice
    compile_cache: CompileCache
    security: Security
    stop: StopRequest
    guardian: Guardian
    timeline: Timeline = dataclasses.field(default_factory=Timeline)

    @property
    def serves(self) -> bool:
        """Whether this task only serves the leader, and neither loads data nor runs the loop."""
        return self.choice.serves(self.cluster)
