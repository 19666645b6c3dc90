"""What does a runtime exchange with the other workers over this program's own connections?

`PeersRuntime` is the part of a runtime that has a `SocketAllReduce`: the values of the leader, the sums
of the test set's blocks, the names of the peers that it waits for, and the loss of one in the middle of a
TensorFlow function.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.collectives.all_reduce import PeerLost, SocketAllReduce
from strategies.collectives.leaf_runs import LeafRuns
from strategies.runtime import Runtime


class PeersRuntime(Runtime):
    """A runtime of workers; `exchange` connects those that share a batch, this one with this `rank`."""

    exchange: SocketAllReduce
    rank: int
    _failure: PeerLost | None = None

    @property
    def everyone(self) -> SocketAllReduce:
        """Connects all workers."""
        return self.exchange

    def total(self, number: float) -> float:
        """The sum of the numbers of all workers, which all call it together."""
        found = np.empty(1, np.float32)
        self.everyone.sum([np.array([number], np.float32)], found)
        return float(found[0])

    def broadcast(self, values: Any) -> Any:
        arrays = [np.array(value, order="C") for value in tf.nest.flatten(values)]
        for array in arrays:
            self.everyone.broadcast(array)
        return tf.nest.pack_sequence_as(values, arrays)

    @property
    def exchange_s(self) -> float:  # type: ignore[override]
        return self.exchange.seconds

    def waiting_for(self) -> str:
        return " and ".join(map(str, self.exchange.waiting_for))

    def set_peer_timeout(self, seconds: float) -> None:
        self.exchange.silence_s = seconds

    def all_blocks(self, mine: np.ndarray, runs: LeafRuns) -> np.ndarray:
        """float32 [k * all blocks of a row, num_sums], in the test set's order.

        Args:
          mine: float32 [k, own blocks of a row, num_sums].
          runs: the blocks of a row that each worker has.
        """
        own = np.zeros((len(mine), runs.num_leaves, mine.shape[-1]), np.float32)
        run = runs.runs[self.rank]
        own[:, run.start : run.stop] = mine
        blocks = np.empty(own.size, np.float32)
        self.exchange.sum([own.reshape(-1)], blocks)  # To add zeros is exact.
        return blocks.reshape(-1, mine.shape[-1])

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """Keeps the error of an exchange in the body, in place of which TensorFlow raises its own."""
        try:
            yield
        except PeerLost as error:
            self._failure = error
            raise

    def called(self, function: Callable, *args: Any) -> Any:
        """What a TensorFlow function returns that exchanges. Raises the error that `exchanging` kept."""
        try:
            return function(*args)
        except tf.errors.OpError:
            if self._failure:
                raise self._failure from None
            raise


def flattened(
    found: Sequence[tuple[list, Any]], *more: Any
) -> tuple[list, Callable[[Sequence], list[Sequence]]]:
    """The parts of the vectors of subtrees side by side, and what groups such parts by subtree again.

    `found`: terms and sums of each subtree; `more`: what follows them in each vector.
    """
    parts = [part for terms, sums in found for part in (*terms, sums, *more)]
    each = len(parts) // len(found)
    starts = range(0, len(parts), each)
    return parts, lambda parts: [parts[start : start + each] for start in starts]
