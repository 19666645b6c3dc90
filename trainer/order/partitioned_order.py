"""Which example is at position p of epoch e, where the training data is divided into shares?

The shares take turns in proportion to their sizes, so that each step has its part of every share; within
its share, each example has its place in an order of its own. Turn j of a share of n examples is at time
(j + phase) / n of the epoch, and the turns of all shares follow each other by their time, computed in
integers. So every epoch visits every example once, and at any time each share is within one example of
its part. One share has the order of a run without shares.
"""

from collections.abc import Sequence

import numpy as np

from trainer.order.sample_order import SampleOrder

# Of the shares' clock. More than there are examples, so turns of a share differ.
_EPOCH_TIME = 2**32
# Per share: the golden ratio spreads the phases, so that small shares do not meet in one step.
_GOLDEN = 0x9E3779B9
_SEED_STEP = 0xD1B54A32D192ED03  # Between the seeds of two shares; the first has the run's own.


class PartitionedOrder(SampleOrder):
    """The order in which a run visits the examples of `shares`, disjoint indices that cover the data.

    Raises ValueError as `SampleOrder`, and where a share is empty.
    """

    def __init__(
        self, shares: Sequence[np.ndarray], global_batch_size: int, seed: int, shuffle: bool = True
    ):
        super().__init__(sum(map(len, shares)), global_batch_size, seed, shuffle)
        self._shares = shares
        self._orders = [
            SampleOrder(len(share), 1, seed + number * _SEED_STEP, shuffle)
            for number, share in enumerate(shares)
        ]
        self._sizes = np.array([len(share) for share in shares], np.int64)
        self._phases = np.arange(len(shares), dtype=np.int64) * _GOLDEN % _EPOCH_TIME

    def _examples(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        if not positions.size:
            return positions
        first, last = int(positions.min()), int(positions.max())
        return self._between(epoch, first, last + 1)[positions - first]

    def _between(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The examples at the positions [start, stop)."""
        examples, times = [], []
        begun, ended = self.turns_before(start), self.turns_before(stop)
        for number in np.flatnonzero(begun < ended).tolist():
            turns = np.arange(begun[number], ended[number])
            examples.append(self._shares[number][self._orders[number].examples(epoch, turns)])
            times.append((turns * _EPOCH_TIME + self._phases[number]) // self._sizes[number])
        # Stable: of two turns at one time that of the earlier share is first.
        return np.concatenate(examples)[np.argsort(np.concatenate(times), kind="stable")]

    def turns_before(self, position: int) -> np.ndarray:
        """int64 [shares]: how many examples of each share are before a position of any epoch."""
        # The latest time before which there are at most `position` turns.
        low, high = 0, _EPOCH_TIME
        while low < high:
            middle = (low + high + 1) // 2
            if self._turns_until(middle).sum() <= position:
                low = middle
            else:
                high = middle - 1
        turns = self._turns_until(low)
        at_that_time = np.flatnonzero(self._turns_until(low + 1) - turns)
        turns[at_that_time[: position - turns.sum()]] += 1
        return turns

    def _turns_until(self, time: int) -> np.ndarray:
        """How many turns of each share are before a time."""
        turns = -((self._phases - time * self._sizes) // _EPOCH_TIME)  # Rounded up.
        return np.clip(turns, 0, self._sizes)
