"""In which order are the gradients of a global batch added?

In one fixed tree over `num_blocks` equal blocks of the batch, wherever they are computed. A sum of
floating-point numbers depends on its order: one batch, summed on one device and summed by two workers,
would give different last bits. So each block's gradient is computed separately, and the blocks are added
pairwise in their order, ((0 + 1) + (2 + 3)). A replica that holds a run of the blocks adds those that the
tree adds to each other, and the rest is added where all meet (`strategies/collectives/leaf_runs.py`): so
the total has the same bits on any number of replicas, up to one for each block. TensorFlow's own
all-reduce adds one vector of each replica, so there a replica must hold a whole branch of the tree.

Eigen splits one matrix product among threads, depending on its shape and on the processor's caches, and
adds the parts. So one thread computes each product (`strategies/devices/threads.py`). With several,
blocks of 16 examples had equal bits for 1 to 16 threads on one kind of processor; on another (AMD EPYC,
AVX2) 1 and 2 threads differed at 16, and 2 and 3 at 32: at 16 in the gradient's product, not in that of
the forward pass. XLA has no switch that TensorFlow respects: with `xla_cpu_multi_thread_eigen=false` the
bits are those of several threads.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from strategies.collectives.tree_sum import tree_sum
from trainer.config.fields import ConfigError

# The number of blocks where the config has none. 4 serve up to 4 replicas; each adds code to compile.
_MIN_BLOCKS, _MAX_BLOCKS = 4, 64
_MAX_BLOCK_SIZE = 128  # Examples in a block.
_FEW = 8  # Blocks for a replica, in a proposal.


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


def fits(blocks: int, num_replicas: int, any_runs: bool) -> bool:
    """Whether every replica can hold blocks such that all are added in the order of the tree.

    `any_runs`: a replica may hold any run of them, and not only a whole branch of the tree.
    """
    if any_runs:
        return num_replicas <= blocks
    each, rest = divmod(blocks, num_replicas)
    return not rest and (num_replicas == 1 or each & (each - 1) == 0)


def check(global_batch_size: int, wanted: int, num_replicas: int, any_runs: bool) -> None:
    """Raises ConfigError where these replicas can share a batch neither in blocks nor evenly.

    `wanted`: `train.reduction_blocks`, which is refused where these replicas cannot share that number.
    """
    if fits(num_blocks(global_batch_size, wanted), num_replicas, any_runs):
        return
    if global_batch_size % num_replicas:
        down = global_batch_size // num_replicas * num_replicas
        sizes = f"{down} or {down + num_replicas}" if down else str(num_replicas)
        more = _enough_blocks(global_batch_size, num_replicas) if any_runs else 0
        raise ConfigError(
            "`data.global_batch_size` must divide evenly among replicas. Received: "
            f"{global_batch_size} for {num_replicas} replicas; try {sizes}"
            + (f", or --config.train.reduction_blocks={more}." if more else ".")
        )
    if wanted:
        times = "" if any_runs else " times a power of two"
        rule = f"{'at least ' if any_runs else ''}the number of replicas{times}"
        raise ConfigError(
            f"`train.reduction_blocks` must be {rule}. Received: {wanted} for {num_replicas} replicas; "
            "change either, or leave it at 0, where weights agree up to rounding."
        )


def _enough_blocks(global_batch_size: int, num_replicas: int) -> int:
    """The least number of blocks, up to a few for each replica, that divides the batch; 0: none."""
    numbers = range(num_replicas, min(global_batch_size, _FEW * num_replicas) + 1)
    return next((number for number in numbers if global_batch_size % number == 0), 0)


def split(batch: tuple, size: int) -> list[tuple]:
    """The blocks of a replica's batch, `size` examples each; one block where `size` is 0."""
    count = batch[0].shape[0] // size if size else 1
    if count == 1:
        return [batch]
    return [tuple(array[i * size : (i + 1) * size] for array in batch) for i in range(count)]


def grouped(blocks: Sequence[Any], sizes: Sequence[int]) -> list[Sequence[Any]]:
    """Neighbours in groups of these sizes."""
    stops = list(itertools.accumulate(sizes))
    return [blocks[stop - size : stop] for stop, size in zip(stops, sizes, strict=True)]


def add(terms: Sequence[tuple[list, Any]]) -> tuple[list, Any]:
    """The pairwise sum of the blocks' terms, and that of their sums."""
    return tree_sum(terms, _add_two)


def _add_two(a: tuple[list, Any], b: tuple[list, Any]) -> tuple[list, Any]:
    return [x + y for x, y in zip(a[0], b[0], strict=True)], a[1] + b[1]
