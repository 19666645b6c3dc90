"""Which partial sums does a worker send that holds some of the leaves of one sum?

The sums of the largest whole subtrees of `tree_sum` among its leaves. The receiver adds them where the
tree does: so the total has the bits of `tree_sum` over all leaves, however they are divided into runs.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from strategies.collectives.tree_sum import tree_sum


@dataclasses.dataclass(frozen=True)
class LeafRuns:
    """Leaves that are held by workers: worker r has the next `counts[r]` of them, which may be none."""

    counts: tuple[int, ...]

    @classmethod
    def even(cls, num_leaves: int, workers: int) -> "LeafRuns":
        """Runs whose lengths differ by 1 at most, the longer ones first."""
        each, more = divmod(num_leaves, workers)
        return cls(tuple(each + (rank < more) for rank in range(workers)))

    def of_groups(self, size: int) -> "LeafRuns":
        """Those of groups of `size` neighbouring workers."""
        groups = range(0, len(self.counts), size)
        return LeafRuns(tuple(sum(self.counts[first : first + size]) for first in groups))

    @property
    def num_leaves(self) -> int:
        return sum(self.counts)

    @functools.cached_property
    def runs(self) -> tuple[range, ...]:
        """The leaves of each worker."""
        stops = tuple(itertools.accumulate(self.counts))
        return tuple(range(stop - n, stop) for stop, n in zip(stops, self.counts, strict=True))

    @functools.cached_property
    def roots(self) -> tuple[tuple[range, ...], ...]:
        """For each worker, the leaves below each of its partial sums, in their order."""
        return tuple(tuple(self._subtrees(run)) for run in self.runs)

    @functools.cached_property
    def is_level(self) -> bool:
        """Whether each worker has one partial sum, and `tree_sum` of these is that of all leaves."""
        if any(len(own) != 1 for own in self.roots):
            return False
        size = len(self.roots[0][0])
        spans = [(own[0].start, len(own[0]) <= size) for own in self.roots]
        return spans == [(rank * size, True) for rank in range(len(spans))]

    def partial_sums(
        self, rank: int, leaves: Sequence[Any], add: Callable[[Any, Any], Any] = operator.add
    ) -> list[Any]:
        """What worker `rank` sends, from its own `leaves`: one sum for each of its `roots`."""
        first = self.runs[rank].start
        return [tree_sum(leaves[r.start - first : r.stop - first], add) for r in self.roots[rank]]

    def total(self, sums: Sequence[Any], add: Callable[[Any, Any], Any] = operator.add) -> Any:
        """`tree_sum` of all leaves, from all workers' partial sums in the order of the workers."""
        spans = itertools.chain.from_iterable(self.roots)
        found = {(span.start, span.stop): term for span, term in zip(spans, sums, strict=True)}

        def subtree(start: int, size: int) -> Any:
            stop = min(start + size, self.num_leaves)
            if (start, stop) in found:
                return found[start, stop]
            middle = start + size // 2
            left = subtree(start, size // 2)
            return left if middle >= stop else add(left, subtree(middle, size // 2))

        return subtree(0, 1 << (self.num_leaves - 1).bit_length())

    def _subtrees(self, run: range) -> Iterator[range]:
        """The largest subtrees within a run. One of 2**k leaves starts at a multiple of 2**k.

        Only the last subtree of the tree may have fewer leaves than that.
        """
        start = run.start
        while start < run.stop:
            size = 1
            while start % (2 * size) == 0 and size < self.num_leaves - start:
                if min(start + 2 * size, self.num_leaves) > run.stop:
                    break
                size *= 2
            stop = min(start + size, self.num_leaves)
            yield range(start, stop)
            start = stop
