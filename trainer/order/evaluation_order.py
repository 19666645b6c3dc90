"""Which examples of several splits are in which block of an evaluation?

Those of each split in their order; its last row is padded, so no row has examples of two splits.
"""

import numpy as np

from trainer.order.sample_order import PADDING, SampleOrder


class EvaluationOrder:
    """The rows of `lengths` examples, split after split; an index counts the examples of all splits.

    `rows[i]` are the rows of split i, of `global_batch_size` examples each.
    """

    shuffle = False
    rows_per_step = 1

    def __init__(self, lengths: list[int], global_batch_size: int):
        self.global_batch_size = global_batch_size
        self.rows: list[range] = []
        self._orders: list[tuple[SampleOrder, int]] = []
        self.steps_per_epoch = num_examples = 0
        for length in lengths:
            order = SampleOrder(length, global_batch_size, seed=0, shuffle=False)
            self._orders.append((order, num_examples))
            end = self.steps_per_epoch + order.steps_per_epoch
            self.rows.append(range(self.steps_per_epoch, end))
            self.steps_per_epoch, num_examples = end, num_examples + length

    def steps_visits(self, first_step: int, num_steps: int) -> np.ndarray:
        """int [num_steps, 1]: zeros, as an evaluation is one pass."""
        return np.zeros((num_steps, 1), np.int64)

    def steps_batches(self, first_step: int, num_steps: int) -> np.ndarray:
        """int32 [num_steps, global_batch_size]: rows of one split, padded with -1."""
        for rows, (order, start) in zip(self.rows, self._orders, strict=True):
            if first_step in rows:
                assert first_step + num_steps <= rows.stop
                found = order.steps_batches(first_step - rows.start, num_steps)
                return np.where(found == PADDING, PADDING, found + np.int32(start))
        raise IndexError(f"a row must be below {self.steps_per_epoch}. Received: {first_step}.")
