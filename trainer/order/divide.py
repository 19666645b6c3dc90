"""How are examples cut into parts, put in a random order, grouped, and made exactly P groups?

`cut`, `shuffled`, `by_number`, `by_value` and `evened`, of which each way to divide the data is made. All
give indices.
"""

from collections.abc import Callable, Sequence

import numpy as np

from trainer.order.sample_order import SampleOrder

_STREAM = 0x7368617265  # Added to the seed, so that shares say nothing about the order of an epoch.


def cut(indices: np.ndarray, parts: int) -> list[np.ndarray]:
    """Consecutive parts whose lengths differ by at most 1."""
    return np.split(indices, [len(indices) * part // parts for part in range(1, parts)])


def shuffled(indices: np.ndarray, seed: int, stream: int = 0) -> np.ndarray:
    """The indices in an order that follows from the seed, in another one for each `stream`."""
    if not len(indices):
        return indices
    order = SampleOrder(len(indices), 1, seed + _STREAM)
    return indices[order.examples(stream, np.arange(len(indices)))]


def by_number(numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """The examples that have the number 0, those that have 1, ... up to `count` - 1; some may be none."""
    return _in_runs(numbers, np.bincount(numbers, minlength=count))


def by_value(values: np.ndarray) -> list[np.ndarray]:
    """The examples of each value that occurs, in ascending order of the values."""
    _, counts = np.unique(values, return_counts=True)
    return _in_runs(values, counts)


def _in_runs(values: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    return np.split(np.argsort(values, kind="stable"), np.cumsum(counts)[:-1])


def halves_in_order(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two halves of a group, in its order."""
    middle = (len(group) + 1) // 2
    return group[:middle], group[middle:]


def evened(
    groups: Sequence[np.ndarray],
    count: int,
    halve: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = halves_in_order,
    largest: int = 0,
) -> list[np.ndarray]:
    """Exactly `count` groups of at least one example; there must be that many examples.

    While there are too few groups, the largest is halved; while there are too many, the two smallest are
    merged. So is a group of more than `largest` examples halved, unless that is 0; to reach the end, it
    must be at least twice the mean size.
    """
    found = [group for group in groups if len(group)]
    while len(found) != count or (largest and max(map(len, found)) > largest):
        by_size = sorted(range(len(found)), key=lambda number: len(found[number]))
        if len(found) > count:
            kept, dropped = sorted(by_size[:2])
            found[kept] = np.concatenate([found[kept], found[dropped]])
            del found[dropped]
        else:
            found[by_size[-1]], other = halve(found[by_size[-1]])
            found.append(other)
    return found
