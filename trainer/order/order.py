"""What is asked of an order of examples? `Order` is the interface, of training and of evaluations."""

from typing import Protocol

import numpy as np


class Order(Protocol):
    """Which examples are in which step: a `SampleOrder`, that of an evaluation, or of shares."""

    @property
    def global_batch_size(self) -> int:
        """Examples in a row, over all replicas."""

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def rows_per_step(self) -> int: ...

    @property
    def shuffle(self) -> bool: ...

    def steps_batches(self, first_step: int, num_steps: int) -> np.ndarray:
        """int32 [num_steps * rows_per_step, global_batch_size]: indices, -1 where there is no example."""

    def steps_visits(self, first_step: int, num_steps: int) -> np.ndarray:
        """int: how often the run has visited each of these examples before.

        That is the epoch, unless one may have an example twice. In a shape that broadcasts to theirs.
        """
