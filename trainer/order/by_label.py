"""How are classes spread unevenly over shares?

`dirichlet`: each class in other proportions in each share (Hsu, Qi and Brown, "Measuring the Effects of
Non-Identical Data Distribution for Federated Visual Classification", 2019). `shards`: the examples are
sorted by class, and each share gets two pieces (McMahan et al., "Communication-Efficient Learning of Deep
Networks from Decentralized Data", 2017).
"""

import numpy as np

from trainer.order.divide import by_value, cut, evened, shuffled
from trainer.order.errors import PartitionError

_SHARDS = 2  # Of each share.


def dirichlet(labels: np.ndarray, count: int, alpha: float, seed: int) -> list[np.ndarray]:
    """`count` groups: of each class, parts in proportions drawn from Dirichlet(alpha).

    `labels`: the class of each example. Where a group gets no example, the largest is halved.
    """
    random = np.random.Generator(np.random.Philox(key=seed))
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for number, members in enumerate(by_value(labels)):
        ends = np.cumsum(random.dirichlet(np.full(count, alpha)))[:-1] * len(members)
        pieces = np.split(shuffled(members, seed, number), np.rint(ends).astype(np.int64))
        for part, piece in zip(parts, pieces, strict=True):
            part.append(piece)
    return evened([np.concatenate(part) for part in parts], count)


def shards(labels: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """`count` groups of two random ones of the 2 * count equal pieces of the examples sorted by class.

    Raises PartitionError where there are fewer examples than pieces.
    """
    pieces = count * _SHARDS
    if pieces > len(labels):
        raise PartitionError(
            f"`data.partitions` must be at most {len(labels) // _SHARDS} for shards, which cuts the "
            f"{len(labels)} training examples into {_SHARDS} pieces for each share. Received: {count}; "
            "lower it."
        )
    cuts = cut(np.argsort(labels, kind="stable"), pieces)
    dealt = shuffled(np.arange(pieces), seed).reshape(count, _SHARDS)
    return [np.concatenate([cuts[piece] for piece in own]) for own in dealt]
