"""When do the clients of a federated run agree? After each round, in which some of them train alone.

A logical replica is a client of the round: it starts from the agreed weights and trains on its own share
of the data for some epochs. This is federated averaging (McMahan et al., "Communication-Efficient
Learning of Deep Networks from Decentralized Data", 2017, algorithm 1). With `proximal` a client's loss
also has mu / 2 times its squared distance from the agreed weights (Li et al., "Federated Optimization in
Heterogeneous Networks", 2020, equation 2). Which clients a round has is a matter of the sample order.

A step of the run is a round. A client's optimizer starts anew in each, so the state has the size of one
model, however many clients there are.
"""

import dataclasses
from typing import ClassVar

from strategies.sync.agreement import Agreement


@dataclasses.dataclass(frozen=True)
class Federated(Agreement):
    """The sampled clients average their weights after each round.

    `own_data`: each worker has examples that the others do not have, and carries the clients of these.
    """

    mode: ClassVar[str] = "federated"

    own_data: bool = False

    def block_size(self, global_batch_size: int, num_blocks: int) -> int:
        """A batch is one client's, and one block."""
        del num_blocks
        return global_batch_size

    def describe_batch(self, global_batch_size: int, workers: int) -> str:
        carried = f", on {workers} workers" if workers > 1 else ""
        return f"{self.replicas} clients per round, in batches of {global_batch_size}{carried}"
