"""In which calls of compiled code are a worker's blocks of a step computed?

Each of its subtrees of the sum over all blocks (`collectives/leaf_runs.py`) in a call of its own, so that
those of one size share compiled code. All in one where they depend on each other.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from strategies.runtime import Key, Program


class BlockCall(NamedTuple):
    """Neighbouring subtrees, with their rows of every step of a loop: arrays [k, b, ...]."""

    stacked_batches: tuple
    first_block: Any
    sizes: tuple[int, ...]

    def at(self, i: Any, first_step: Any) -> tuple[tuple, Key, tuple[int, ...]]:
        """The batch, key and sizes of step i: what `Program.partial_sums` takes."""
        # Outside compiled code, which was measured to be slower with all the batches as its argument.
        batch = tuple(tf.gather(array, i) for array in self.stacked_batches)
        return batch, Key(first_step + i, self.first_block), self.sizes


def calls(
    program: Program, stacked_batches: tuple, first_block: Any, sizes: tuple[int, ...]
) -> list[BlockCall]:
    """The calls for subtrees of these sizes, the first of which begins with `first_block`."""
    if program.connects_blocks:
        return [BlockCall(stacked_batches, first_block, sizes)]
    rows = stacked_batches[-1].shape[1] // sum(sizes)
    found = []
    for size in sizes:
        held = tuple(array[:, : size * rows] for array in stacked_batches)
        stacked_batches = tuple(array[:, size * rows :] for array in stacked_batches)
        found.append(BlockCall(held, first_block, (size,)))
        first_block += size
    return found
