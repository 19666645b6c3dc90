"""How are the blocks of a batch computed where they need sums in the middle of a step?

`Connected` traces them side by side (`side_by_side.py`), and adds what they ask for: sums over all blocks
of the batch, for the statistics of batch normalization, or for each block the sum over the parts of the
model that other workers hold. In either case every worker exchanges in the same order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from strategies.collectives.tree_sum import tree_sum
from trainer.model import batch_statistics, model_blocks, reduction_blocks, side_by_side

Add = Callable[[list], Any]


def with_statistics(
    compute: Callable[..., Any], blocks: list, sizes: Sequence[int], add: Add | None
) -> list[Any]:
    """What `compute` returns for each of these tuples of arguments, whose first is a batch.

    `sizes`, `add`: those of `Program.partial_sums`.
    """

    def total(parts: list) -> Any:
        totals = [*map(tree_sum, reduction_blocks.grouped(parts, sizes))]
        return totals[0] if add is None else add(totals)

    def terms_of(batch, *more: Any, ask: Callable) -> Any:
        with batch_statistics.added_by(ask, tf.math.count_nonzero(batch[-1])):
            return compute(batch, *more)

    return _run(terms_of, blocks, total)


def with_parts(compute: Callable[..., Any], blocks: list, add: Add) -> list[Any]:
    """As `with_statistics`, of a model of which this process computes a part.

    `add`: `add_parts` of `Program.partial_sums`.
    """

    def totals(sums: list) -> list:
        # For all blocks in one exchange. Each has the sums of the same subtrees of model blocks.
        rows = [tf.reshape(one, [tf.shape(one)[0], -1]) for one in sums]
        vectors = tf.unstack(tf.concat(rows, 1), num=sums[0].shape[0])
        found = tf.split(add(vectors), [tf.shape(one)[1] for one in rows], num=len(rows))
        return [
            tf.ensure_shape(tf.reshape(total, tf.shape(one)[1:]), one.shape[1:])
            for total, one in zip(found, sums, strict=True)
        ]

    def terms_of(index: int, *block: Any, ask: Callable) -> Any:
        with model_blocks.added_by(lambda sums: ask(sums)[index]):
            return compute(*block)

    return _run(terms_of, [(index, *block) for index, block in enumerate(blocks)], totals)


def _run(compute: Callable[..., Any], blocks: list, total: Callable[[list], Any]) -> list[Any]:
    last: list[Any] = []

    def in_order(parts: list) -> Any:
        # So that each worker's sum meets the same sum of the others.
        with tf.control_dependencies(last):
            found = total(parts)
        last[:] = found if isinstance(found, list) else [found]
        return found

    def function(block: tuple) -> Callable[[Callable], Any]:
        return lambda ask: compute(*block, ask=ask)

    found = side_by_side.run([function(block) for block in blocks], in_order)
    with tf.control_dependencies(last):
        return tf.nest.map_structure(tf.identity, found)
