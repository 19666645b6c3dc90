"""How many blocks of each batch does each worker compute?

As many as the others, or as its speed allows: `divided` gives the division with the shortest step, and
`moved` says when what was measured makes another division worth the move. Every worker decides from the
same numbers, and so decides the same.
"""

from collections.abc import Iterator, Mapping, Sequence

from strategies.collectives.leaf_runs import LeafRuns

# A move must shorten the step by this part of it: less is noise, and would move blocks back and forth.
LEAST_GAIN = 0.1


def divided(num_blocks: int, speeds: Sequence[float]) -> tuple[int, ...]:
    """The blocks of each worker, at least one, such that the slowest ends as early as possible.

    `speeds`: blocks per second, or any other numbers in proportion to that. There are no more workers
    than blocks.
    """
    counts = [1] * len(speeds)
    for _ in range(num_blocks - len(speeds)):
        # To the worker that then ends first; of equal ones, to that with fewer blocks.
        _, _, rank = min(((n + 1) / speeds[rank], n, rank) for rank, n in enumerate(counts))
        counts[rank] += 1
    return tuple(counts)


def rounded(num_blocks: int, speeds: Sequence[float]) -> Iterator[tuple[int, ...]]:
    """The same in whole units of 1, 2, 4, … blocks: the larger, the fewer partial sums a worker has."""
    for unit in (1 << power for power in range(num_blocks.bit_length())):
        units = -(-num_blocks // unit)
        if units >= len(speeds):
            *others, last = (unit * n for n in divided(units, speeds))
            yield *others, last - (units * unit - num_blocks)


def moved(
    counts: Sequence[int], computed_s: Sequence[float], exchange_s: Mapping[int, float]
) -> tuple[int, ...]:
    """The blocks of each worker from now on.

    A step is expected to take what the slowest worker computes, were each block to take as long as it
    took, and an exchange, which depends on how many partial sums a worker sends. Blocks stay where they
    are unless the step becomes shorter by LEAST_GAIN.

    Args:
      counts: the blocks of each worker until now.
      computed_s: how long each computed in a step.
      exchange_s: how long a step took beyond what its slowest worker computed, by `most_sums` of the
        divisions so far, `counts` among them. Others are taken to be in proportion.
    """
    now = tuple(counts)
    speeds = [n / s for n, s in zip(counts, computed_s, strict=True)]
    of_one_s = exchange_s[most_sums(now)] / most_sums(now)

    def step_s(division: tuple[int, ...]) -> float:
        sums = most_sums(division)
        computing_s = max(n / speed for n, speed in zip(division, speeds, strict=True))
        return computing_s + exchange_s.get(sums, of_one_s * sums)

    best = min((now, *rounded(sum(counts), speeds)), key=step_s)
    return best if step_s(best) < (1 - LEAST_GAIN) * step_s(now) else now


def most_sums(counts: tuple[int, ...]) -> int:
    """The partial sums of the worker that sends the most."""
    return max(map(len, LeafRuns(counts).roots))


def of_replicas(counts: Sequence[int], replicas_per_worker: int) -> LeafRuns:
    """The blocks of each replica, those of a worker divided evenly."""
    even = (LeafRuns.even(n, replicas_per_worker).counts for n in counts)
    return LeafRuns(tuple(n for own in even for n in own))
