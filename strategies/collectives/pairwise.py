"""How do a power of two of workers add a vector of each, in pairs?

Two swap them. More trade halves in the stages of `halving.py`. A worker sends its part to the peer of a
stage; or the peer reads it where it is, if the two share memory (`shared_vectors.py`). Then one byte
announces it, or that there was no memory for it and it has to be sent after all.
"""

from collections.abc import Sequence

import numpy as np

from strategies.collectives import halving
from strategies.collectives.shared_vectors import SharedVectors
from strategies.collectives.vector_shares import Move, as_bytes


class PairwiseSum:
    """The sums of one worker. `memory`: what it shares with peers; nothing as long as it is not set."""

    def __init__(self, move: Move, rank: int, workers: int):
        """`move` sends to, and receives from, workers by their ranks. Its errors are those of `swap`."""
        self.memory = SharedVectors()
        self._move, self._rank, self._workers = move, rank, workers

    def swap(self, parts: Sequence[np.ndarray], total: np.ndarray) -> None:
        """Fills `total`, float32 [n], with the sum of two workers' vectors, each of these parts."""
        peer = 1 - self._rank
        own = self.memory.next(total.size)
        if own is not None:
            np.concatenate(parts, axis=None, out=own)
        theirs = self._shared(peer, own, total.size)
        if theirs is None:
            self._move({peer: [as_bytes(part) for part in parts]}, {peer: as_bytes(total)})
            theirs = total
        start = 0
        for part in parts:  # Of two terms the order does not matter.
            stop = start + part.size
            np.add(theirs[start:stop], part.ravel(), out=total[start:stop])
            start = stop

    def halve_and_double(self, parts: Sequence[np.ndarray], total: np.ndarray) -> None:
        """As `swap`, for any power of two of workers."""
        size = total.size
        shared = self.memory.next(size)
        own = total if shared is None else shared
        np.concatenate(parts, axis=None, out=own)
        stages = halving.stages(self._rank, self._workers, size)
        for peer, kept, given in stages:
            theirs = self._shared(peer, shared, size)
            if theirs is None:
                received = np.empty(kept.stop - kept.start, np.float32)
                self._move({peer: [as_bytes(own[given])]}, {peer: as_bytes(received)})
                own[kept] += received
            else:
                own[kept] += theirs[kept]
        for peer, kept, given in reversed(stages):
            theirs = self._shared(peer, shared, size)
            if theirs is None:
                self._move({peer: [as_bytes(own[kept])]}, {peer: as_bytes(own[given])})
            else:
                own[given] = theirs[given]
        if own is not total:
            total[:] = own

    def _shared(self, peer: int, own: np.ndarray | None, size: int) -> np.ndarray | None:
        """The vector of a peer that has this one's, `own`, too; None: what the two need is to be sent."""
        if peer not in self.memory.peers:
            return None
        announced, received = np.array([own is not None]), np.empty(1, bool)
        self._move({peer: [as_bytes(announced)]}, {peer: as_bytes(received)})
        return self.memory.of(peer, size) if announced and received else None
