"""In which order are the gradients of a global batch added?

In one fixed tree over `num_blocks` equal blocks of the batch, wherever they are computed. A sum of
floating-point numbers depends on its order: one batch, summed on one device and summed by two workers,
would give different last bits. So each block's gradient is computed separately, and the blocks are added
pairwise in their order, ((0 + 1) + (2 + 3)). A replica that holds a power of two of the blocks holds a
whole branch of that tree, and replicas add theirs pairwise too: so the total has the same bits on 1, 2,
4, ... replicas.

Eigen splits one matrix product among threads, depending on its shape and on the processor's caches, and
adds the parts. So one thread computes each product (`strategies/devices/threads.py`). With several,
blocks of 16 examples had equal bits for 1 to 16 threads on one kind of processor; on another (AMD EPYC,
AVX2) 1 and 2 threads differed at 16, and 2 and 3 at 32. XLA has no switch that TensorFlow respects.
"""

from collections.abc import Sequence
from typing import Any

from strategies.collectives.tree_sum import tree_sum
from trainer.config.fields import ConfigError

# The number of blocks where the config has none. 4 serve up to 4 replicas; each adds code to compile.
_MIN_BLOCKS, _MAX_BLOCKS = 4, 64
_MAX_BLOCK_SIZE = 128  # Examples in a block.


def num_blocks(global_batch_size: int, wanted: int) -> int:
    """The number of blocks of a global batch: `wanted`, or if that is 0, one that divides the batch."""
    if wanted:
        return wanted
    blocks, batch = _MIN_BLOCKS, global_batch_size
    while blocks < _MAX_BLOCKS and batch / blocks > _MAX_BLOCK_SIZE and batch % (2 * blocks) == 0:
        blocks *= 2
    while batch % blocks:
        blocks //= 2
    return blocks


def fits(blocks: int, num_replicas: int) -> bool:
    """Whether every replica holds a whole branch of the tree in which the blocks are added."""
    each, rest = divmod(blocks, num_replicas)
    return not rest and (num_replicas == 1 or each & (each - 1) == 0)


def check(wanted: int, num_replicas: int) -> None:
    """Raises ConfigError where `train.reduction_blocks` is a number that these replicas cannot share."""
    if wanted and num_replicas and not fits(wanted, num_replicas):
        raise ConfigError(
            "`train.reduction_blocks` must be the number of replicas times a power of two. Received: "
            f"{wanted} for {num_replicas} replicas; change either, or leave it at 0, where weights "
            "agree up to rounding on any number of replicas."
        )


def split(batch: tuple, size: int) -> list[tuple]:
    """The blocks of a replica's batch, `size` examples each; one block where `size` is 0."""
    count = batch[0].shape[0] // size if size else 1
    if count == 1:
        return [batch]
    return [tuple(array[i * size : (i + 1) * size] for array in batch) for i in range(count)]


def add(terms: Sequence[tuple[list, Any]]) -> tuple[list, Any]:
    """The pairwise sum of the blocks' terms, and that of their sums."""
    return tree_sum(terms, _add_two)


def _add_two(a: tuple[list, Any], b: tuple[list, Any]) -> tuple[list, Any]:
    return [x + y for x, y in zip(a[0], b[0], strict=True)], a[1] + b[1]
