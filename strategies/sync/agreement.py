"""When do the replicas of a run agree, on what, and how is it sent?

`Agreement` is the interface, with a subclass in a file of its own for each mode. It is one of two tables:
a strategy says who holds copies of the state (`traits.py`), an agreement when they become equal.

A mode whose replicas train apart has a fixed number of *logical replicas*. Each takes the steps of a
*round* alone, from the agreed weights, and then sends how far its weights moved. All of them move by the
mean of that, weighted by the examples that each replica saw:

    w <- w + sum_r n_r (w_r - w) / sum_r n_r

The sum is a tree over the logical replicas (`collectives/tree_sum.py`). So the weights do not depend on
which worker carries which replica.
"""

import dataclasses
from typing import Any, ClassVar

from strategies.sync.channel import Channel
from strategies.sync.outer import Outer

Memory = dict[str, Any]
"""What an agreement remembers from round to round, as arrays by name. Checkpoints have it."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How replicas agree.

    Attributes:
      replicas: how many logical replicas take part in a round; 0: as many as the strategy has.
      slots: what becomes of the slots of a replica's optimizer at an agreement: one of `names.SLOTS`.
      outer: how the agreed weights follow from the mean update.
      channel: through which each update passes.
      summation: how the replicas' updates are added: a key of `apart.summations.SUMMATIONS`.
      proximal: pulls a replica's weights to the agreed ones: mu of FedProx, 0 for none.
      shards_optimizer: whether workers that take every step together divide the optimizer's slots among
        each other.
    """

    mode: ClassVar[str]
    trains_apart: ClassVar[bool] = True
    """Whether replicas take steps without each other."""

    replicas: int = 0
    slots: str = "keep"
    outer: Outer = Outer()
    channel: Channel = dataclasses.field(default_factory=Channel)
    summation: str = "plain"
    proximal: float = 0.0
    shards_optimizer: bool = False

    @property
    def period(self) -> int:
        """Steps after which there always is an agreement, counted from the start of an epoch."""
        return 1

    def block_size(self, global_batch_size: int, num_blocks: int) -> int:
        """Examples in each block of a replica's batch; a replica has one block or more.

        `num_blocks`: of the global batch, where replicas take every step together.
        """
        blocks = num_blocks // self.replicas if num_blocks % self.replicas == 0 else 1
        return global_batch_size // self.replicas // blocks

    def describe_batch(self, global_batch_size: int, workers: int) -> str:
        """How a global batch is divided, for the user."""
        each = global_batch_size // self.replicas
        carried = f", on {workers} workers" if workers > 1 else ""
        replicas = f"{self.replicas} logical replicas"
        return f"{global_batch_size} examples per step = {replicas} x {each}{carried}"

    def initial_memory(self) -> Memory:
        """What the mode remembers before the first round, beside what all modes do."""
        return {}

    def next_agreement(self, step: int, start: int, memory: Memory) -> int:
        """The step after which replicas that agreed before `step` agree again, if no epoch ends before.

        `start`: a step before it at which a period began.
        """
        del memory
        return step + self.period - (step - start) % self.period

    def after(self, memory: Memory, spread: float, step: int, length: int) -> Memory:
        """What the mode remembers after the agreement at `step`, which ends a round of `length` steps.

        `spread`: the replicas' distance from their average weights, as a root of the mean square that is
        weighted by examples, divided by the norm of the average.
        """
        del spread, step, length
        return memory

    def measures(self, memory: Memory) -> dict[str, float]:
        """What the mode reports beside what all modes do."""
        del memory
        return {}
