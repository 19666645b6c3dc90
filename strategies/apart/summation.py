"""How do workers add the vectors of their logical replicas, and what does each see of the others'?

A `Summation` is told this worker's vectors, and gives everyone the sum of all. `PlainSum` adds them in
one tree; each worker sees the partial sums of the others. Those in files of their own make the messages
smaller, or hide them.
"""

import abc
from collections.abc import Sequence

import numpy as np

from strategies.apart.round import Round
from strategies.collectives.all_reduce import SocketAllReduce
from strategies.collectives.leaf_runs import LeafRuns


class Summation(abc.ABC):
    """How the workers of `exchange` add vectors; `runs`: whose logical replicas are whose.

    `round`: what the vectors are made of; to be set before `total` is called. `update_bytes`: of the
    message of one replica in the last sum, on average; None: as the channel says.
    """

    round: Round
    update_bytes: int | None = None

    def __init__(self, exchange: SocketAllReduce, rank: int, runs: LeafRuns):
        self.exchange, self.rank, self.runs = exchange, rank, runs

    @abc.abstractmethod
    def total(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [n]: the sum over all logical replicas, of which this worker has these vectors.

        Its bits do not depend on who carries which replica. All workers call it together.
        Raises PeerLost.
        """

    def measures(self) -> dict[str, float]:
        """What to report of it."""
        return {}


class PlainSum(Summation):
    """Adds float32 numbers in the tree of the logical replicas."""

    def total(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        sums = [[one] for one in self.runs.partial_sums(self.rank, leaves)]
        total = np.empty(leaves[0].size, np.float32)
        self.exchange.sum_runs(sums, total, self.runs)
        return total
