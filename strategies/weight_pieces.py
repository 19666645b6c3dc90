"""Which part of which weight does each worker update?

All weights are one vector, cut into a share for each worker (`collectives/vector_shares.py`): so a share
is a run of neighbouring weights, the first and the last of which may be parts (`Piece`). Slots are cut
like their weight; one without dimensions, such as a count of steps, is held with each piece.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives import vector_shares

RowsRead = Callable[[tuple], Any]
"""Of examples, whose columns are [n, ...], the indices of the rows of a weight that they read."""


class Piece(NamedTuple):
    """The numbers [start, stop) of the weight of this index, as a vector."""

    weight: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def shape(self, weight_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of this piece of a weight of that shape, and of its slots."""
        return (self.size,) if len(weight_shape) else ()

    def of(self, array: np.ndarray) -> np.ndarray:
        """This piece of the weight, or of a slot of it."""
        return array.reshape(-1)[self.start : self.stop] if array.ndim else array


def num_holders(choice: Choice, cluster: ClusterSpec) -> int:
    """How many workers divide the optimizer's slots among each other; 1: none does."""
    is_divided = choice.agreement.shards_optimizer and choice.transport == "direct"
    return len(cluster.trainers()) if is_divided else 1


def cut(shapes: Sequence[Sequence[int]], workers: int) -> list[list[Piece]]:
    """The pieces of each worker, in the order of the weights, which have these shapes."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    starts = np.cumsum([0, *sizes]).tolist()
    return [
        [
            Piece(index, max(share.start - start, 0), min(share.stop - start, size))
            for index, (start, size) in enumerate(zip(starts, sizes, strict=False))
            if share.start < start + size and start < share.stop
        ]
        for share in vector_shares.shares(starts[-1], workers)
    ]
