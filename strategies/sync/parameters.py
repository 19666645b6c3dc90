"""When do replicas average their parameters? After a fixed number of steps, and at the end of an epoch.

This is local SGD (Stich, "Local SGD Converges Fast and Communicates Little", 2019), for any optimizer.
"""

import dataclasses
from typing import ClassVar

from strategies.sync.agreement import Agreement


@dataclasses.dataclass(frozen=True)
class Parameters(Agreement):
    """Replicas average their parameters every `every_steps` steps."""

    mode: ClassVar[str] = "parameters"

    every_steps: int = 1

    @property
    def period(self) -> int:
        return self.every_steps
