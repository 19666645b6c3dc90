"""How do the agreed weights follow from the replicas' mean update?

`Outer` is the optimizer of the agreement. The mean update takes the place of a negative gradient, as in
DiLoCo (Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", 2023,
algorithm 1). In federated rounds `sgd` with a momentum is FedAvgM (Hsu, Qi and Brown, "Measuring the
Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Outer:
    """`kind`: one of `names.OUTERS`. "none" adds the mean update, so that weights become the average."""

    kind: str = "none"
    learning_rate: float = 1.0
    momentum: float = 0.0

    def initial(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The velocities before the first agreement; none where there is no momentum."""
        if self.kind == "none" or not self.momentum:
            return []
        return [np.broadcast_to(np.zeros((), np.float32), np.shape(weight)) for weight in weights]

    def steps(self, update: list, velocities: list) -> tuple[list, list]:
        """How far each weight moves, and the velocities after that. A function of tensors."""
        if self.kind == "none":
            return update, velocities
        if not velocities:
            return [self.learning_rate * mean for mean in update], velocities
        pairs = [*zip(update, velocities, strict=True)]
        velocities = [self.momentum * velocity + mean for mean, velocity in pairs]
        moved = velocities
        if self.kind == "nesterov":
            pairs = [*zip(update, velocities, strict=True)]
            moved = [mean + self.momentum * velocity for mean, velocity in pairs]
        return [self.learning_rate * step for step in moved], velocities
