"""Is a trial under way worth going on with?

The median stopping rule (Golovin et al., Google Vizier, KDD 2017, 3.2.2): a trial is hopeless when the
best it has reached is worse than the median, over the trials that are over, of the mean of what each had
reached up to the same epoch.
"""

import statistics
from collections.abc import Mapping, Sequence

from trainer.tune.search.record import Objective

_MIN_TRIALS = 5  # Fewer say little about where the median is.
_FIRST_EPOCH = 1.0

Curve = Sequence[tuple[float, float]]


def is_hopeless(objective: Objective, curve: Curve, others: Mapping[str, Curve]) -> bool:
    """Curves are pairs of an epoch and the objective then, in order; `others` are of trials past."""
    if not curve or curve[-1][0] < _FIRST_EPOCH:
        return False
    epoch = curve[-1][0]
    means = [
        statistics.fmean(reached)
        for other in others.values()
        if (reached := [value for when, value in other if when <= epoch])
    ]
    if len(means) < _MIN_TRIALS:
        return False
    reached = (value for _, value in curve)
    best = max(reached) if objective.direction == "max" else min(reached)
    return objective.is_better(statistics.median(means), best)
