"""Which workers trade which parts of their vectors, so that each adds a share and gets the whole sum?

`stages` lists them for recursive halving and doubling, for a power of two of workers. In the first
stage a worker and its neighbour give each other a half of their vectors, and each adds the half that it
gets to the one that it keeps. In the next stage workers at distance 2 trade halves of those halves, and
so on. So every number is added in the order of `tree_sum`: ((0 + 1) + (2 + 3)). Then the same stages in
the opposite order, in which each gives what it kept, spread the sum.

A worker sends what it would send if it gave every other one its share (2 (N - 1) / N of a vector), but
in 2 log2 N messages instead of 2 (N - 1). From Thakur, Rabenseifner and Gropp, "Optimization of
Collective Communication Operations in MPICH", 2005; there the distances shrink, which would change the
order.
"""

from typing import NamedTuple


class Stage(NamedTuple):
    """With the worker of rank `peer`: the part of a vector that this worker keeps, and that it gives."""

    peer: int
    kept: slice
    given: slice


def is_possible(workers: int) -> bool:
    """Whether that number of workers is a power of two."""
    return workers & (workers - 1) == 0


def stages(rank: int, workers: int, size: int) -> list[Stage]:
    """Those of one of `workers`, a power of two, with vectors of `size` numbers. None for one worker."""
    found = []
    start, stop, distance = 0, size, 1
    while distance < workers:
        middle = (start + stop) // 2
        low, high = slice(start, middle), slice(middle, stop)
        kept, given = (high, low) if rank & distance else (low, high)
        found.append(Stage(rank ^ distance, kept, given))
        start, stop = kept.start, kept.stop
        distance *= 2
    return found
