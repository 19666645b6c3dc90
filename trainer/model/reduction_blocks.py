"""In which order are the gradients of a global batch added?

A sum of floating-point numbers depends on its order, so a batch that one device adds up in one sweep
and the same batch added up by two workers would differ in their last bits. Here a global batch is cut
into so many equal blocks, wherever they are computed; each block's gradient is computed by itself, and
the blocks are added pairwise in their order, ((0 + 1) + (2 + 3)). A replica that holds a power of two of
them holds a whole branch of that tree, and replicas add theirs pairwise too: so the total has the same
bits on 1, 2, 4, ... replicas.

Measured (784-128-10, 2 cores): 4 blocks cost 6 % of a step at batch 64 and 9 % at 1,024, as XLA computes
them side by side; 8 cost a third at 64.

A product is itself added up in parts where Eigen shares it among threads, which it decides by its shape.
With 1 to 16 threads the bits of a block's gradient were equal for blocks of up to 16 and of 64 to 128
examples; for 20 to 48, one thread gave other bits than more of them (784-128-10); from 192 on, the number
of threads mattered (100-100-10). XLA has no switch for it that TensorFlow heeds.
"""

from collections.abc import Sequence
from typing import Any

from strategies.collectives.tree_sum import tree_sum
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig

# Blocks where the config leaves it open: for up to 4 replicas; each is code of its own.
_LEAST, _MOST = 4, 64
_LARGEST = 128  # Examples in a block: see above.


def num_blocks(config: ExperimentConfig) -> int:
    """The blocks of a global batch: the config's, or by the size of the batch alone."""
    batch = config.data.global_batch_size
    if config.train.reduction_blocks:
        return config.train.reduction_blocks
    blocks = _LEAST
    while blocks < _MOST and batch / blocks > _LARGEST and batch % (2 * blocks) == 0:
        blocks *= 2
    while batch % blocks:
        blocks //= 2
    return blocks


def fits(blocks: int, num_replicas: int) -> bool:
    """Whether every replica holds a whole branch of the tree in which the blocks are added."""
    each, rest = divmod(blocks, num_replicas)
    return not rest and (num_replicas == 1 or each & (each - 1) == 0)


def check(config: ExperimentConfig, num_replicas: int) -> None:
    """Raises ConfigError where the config asks for blocks that these replicas cannot share."""
    blocks = config.train.reduction_blocks
    if blocks and num_replicas and not fits(blocks, num_replicas):
        raise ConfigError(
            "`train.reduction_blocks` must be the number of replicas times a power of two. Received: "
            f"{blocks} for {num_replicas} replicas; change either, or leave it at 0, where weights "
            "agree up to rounding on any number of replicas."
        )


def split(batch: tuple, size: int) -> list[tuple]:
    """The blocks of a replica's batch, `size` examples each; the batch alone where that is 0."""
    count = batch[0].shape[0] // size if size else 1
    if count == 1:
        return [batch]
    return [tuple(array[i * size : (i + 1) * size] for array in batch) for i in range(count)]


def added(gradients: Sequence[tuple[list, Any]]) -> tuple[list, Any]:
    """The pairwise sum of each block's gradients and sums."""
    return tree_sum(gradients, _add)


def _add(a: tuple[list, Any], b: tuple[list, Any]) -> tuple[list, Any]:
    return [x + y for x, y in zip(a[0], b[0], strict=True)], a[1] + b[1]
