"""When do blocks of a batch move from one worker to another?

At reports, where the workers exchange how long each has computed, if the config asks for measured shares.
`data/balance.py` decides whether a move is worth it.
"""

import numpy as np

from strategies.collectives.leaf_runs import LeafRuns
from strategies.runtime import Runtime
from trainer.data import balance

# The slowest worker has computed for so long before there is a decision: a few steps say little, and
# every move costs a compilation.
LEAST_S = 1.0


class Balancing:
    """Which blocks each replica holds, as `runs`; they change only in `at_report`."""

    def __init__(self, runs: LeafRuns, num_workers: int, measures: bool):
        self.runs = runs
        self._replicas_per_worker = len(runs.counts) // num_workers
        self._measures = measures and num_workers > 1
        self._measured = np.zeros((num_workers, 3))
        self._exchange_s: dict[int, float] = {}

    def at_report(self, runtime: Runtime) -> dict[str, float]:
        """What was measured, by name, where there was a decision; else nothing.

        All tasks call it together, and come to the same decision.
        """
        if not self._measures:
            return {}
        self._measured = self._measured + runtime.computed()
        seconds, computed, steps = self._measured.T
        if steps.min() < 1 or computed.max() < LEAST_S:
            return {}
        self._measured = np.zeros_like(self._measured)
        counts = self.runs.of_groups(self._replicas_per_worker).counts
        in_step = (computed / steps).tolist()
        sums = balance.most_sums(counts)
        self._exchange_s[sums] = float((seconds / steps).max()) - max(in_step)
        moved = balance.moved(counts, in_step, self._exchange_s)
        if moved != counts:
            self.runs = balance.of_replicas(moved, self._replicas_per_worker)
        values: dict[str, float] = {}
        for rank, (after, before, s) in enumerate(zip(moved, counts, in_step, strict=True)):
            values[f"worker_{rank}_blocks"] = after
            values[f"worker_{rank}_ms_per_block"] = 1e3 * s / before
        return values
