"""How do workers divide the addition of their vectors?

Each adds one share of all vectors (`reduce_scatter`) and then sends its share to the others
(`all_gather`). Between the two a worker may replace the sum by what follows from it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from strategies.collectives.leaf_runs import LeafRuns

_TOGETHER = 16  # Numbers: where a share may start, so that TensorFlow can use it without a copy.

Views = list[memoryview]
Move = Callable[[Mapping[int, Views], Mapping[int, memoryview]], None]
"""Sends the views to each peer, and fills the other ones with what each peer sends."""


def shares(size: int, workers: int) -> list[slice]:
    """Each worker's share of a vector, by rank. Lengths differ by less than 32 numbers, and may be 0."""
    starts = [rank * size // workers // _TOGETHER * _TOGETHER for rank in range(workers)]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


def reduce_scatter(
    move: Move,
    rank: int,
    sums: Sequence[Sequence[np.ndarray]],
    total: np.ndarray,
    runs: LeafRuns,
    common: int = 0,
    piece: int | None = None,
) -> None:
    """Fills this worker's share of `total`, and its last `common` numbers, with the sum.

    The rest of `total` is overwritten.

    Args:
      move: how this worker, of this `rank`, sends and receives.
      sums: this worker's partial sums, as for `SocketAllReduce.sum_runs`.
      total: float32 [n].
      runs: the same on every worker.
      common: how many numbers at the end are in no share, as every worker needs their sum.
      piece: how many numbers of a share are sent at a time: what the others send then takes less memory,
        and every piece waits for the one before. None: all.
    """
    workers, size = len(runs.counts), len(total)
    own = total[np.newaxis] if len(sums) == 1 else np.empty((len(sums), size), np.float32)
    for row, parts in zip(own, sums, strict=True):
        np.concatenate([part.ravel() for part in parts], out=row)

    def add(places: Sequence[slice]) -> None:
        """Adds the numbers at this worker's place, as the others do at theirs."""
        mine = places[rank]
        peers = [peer for peer in range(workers) if peer != rank]
        terms = [np.empty((len(roots), mine.stop - mine.start), np.float32) for roots in runs.roots]
        terms[rank] = own[:, mine]
        move(
            {peer: [as_bytes(row[places[peer]]) for row in own] for peer in peers},
            {peer: as_bytes(terms[peer]) for peer in peers},
        )
        total[mine] = runs.total([row for rows in terms for row in rows])

    if common:
        add([slice(size - common, size)] * workers)
    for places in _pieces(shares(size - common, workers), piece or max(size, 1)):
        add(places)


def all_gather(move: Move, rank: int, total: np.ndarray, workers: int, common: int = 0) -> None:
    """Fills `total`, except for its last `common` numbers, with the share that each worker has there."""
    places = shares(len(total) - common, workers)
    peers = [peer for peer in range(workers) if peer != rank]
    move(
        {peer: [as_bytes(total[places[rank]])] for peer in peers},
        {peer: as_bytes(total[places[peer]]) for peer in peers},
    )


def as_bytes(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return array.reshape(-1).data.cast("B")


def _pieces(places: Sequence[slice], piece: int) -> Iterator[list[slice]]:
    """Of each share a piece at a time."""

    def part(share: slice, start: int) -> slice:
        return slice(min(start, share.stop), min(start + piece, share.stop))

    for offset in range(0, max(share.stop - share.start for share in places), piece):
        yield [part(share, share.start + offset) for share in places]
