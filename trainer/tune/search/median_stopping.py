"""Should a running trial be stopped early?

`should_stop` is the median stopping rule (Golovin et al., "Google Vizier: A Service for Black-Box
Optimization", KDD 2017, section 3.2.2): stop a trial if its best objective so far is worse than the
median, over the trials that have ended, of each one's mean objective up to the same epoch.
"""

import statistics
from collections.abc import Mapping, Sequence

from trainer.tune.search.record import Objective

_MIN_TRIALS = 5  # With fewer trials the median says little.
_FIRST_EPOCH = 1.0

Curve = Sequence[tuple[float, float]]  # Pairs of an epoch and the objective then, ordered by epoch.


def should_stop(objective: Objective, curve: Curve, ended: Mapping[str, Curve]) -> bool:
    """Whether to stop the trial with this `curve`. `ended` are the curves of other trials, by id.

    False in a trial's first epoch, and while fewer than five trials have ended.
    """
    if not curve or curve[-1][0] < _FIRST_EPOCH:
        return False
    epoch = curve[-1][0]
    means = [
        statistics.fmean(values)
        for other in ended.values()
        if (values := [value for when, value in other if when <= epoch])
    ]
    if len(means) < _MIN_TRIALS:
        return False
    values = [value for _, value in curve]
    best = max(values) if objective.direction == "max" else min(values)
    return objective.is_better(statistics.median(means), best)
