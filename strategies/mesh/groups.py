"""Which workers add which vectors in a mesh?

`Groups` has an all-reduce for each purpose, all over the same connections: those of all workers, of the
workers with the same share of the batch, which hold the parts of one model, and of those with the same
part of the model, which share the batch.
"""

from collections.abc import Sequence

import numpy as np

from strategies.cluster.mesh_shape import MeshShape
from strategies.collectives.all_reduce import SocketAllReduce


class Groups:
    """A worker's all-reduces: with `everyone`, with the `parts` of its model, and over the `data`."""

    def __init__(self, shape: MeshShape, rank: int, everyone: SocketAllReduce):
        self.shape, self.rank, self.everyone = shape, rank, everyone
        self.parts = everyone.among(shape.model_peers(rank))
        self.data = everyone.among(shape.data_peers(rank))

    @property
    def seconds(self) -> float:
        """Those that all of them have taken so far."""
        return sum(one.seconds for one in self._each)

    @property
    def sent_bytes(self) -> int:
        """Those that this worker has sent so far."""
        return sum(one.sent_bytes for one in self._each)

    def waiting_for(self) -> str:
        tasks = dict.fromkeys(task for one in self._each for task in one.waiting_for)
        return " and ".join(map(str, tasks))

    def set_peer_timeout(self, seconds: float) -> None:
        for one in self._each:
            one.silence_s = seconds

    def send_to_leader(self, array: np.ndarray) -> None:
        """Sends a part, if this worker's group is the leader's. It then calls `receive_parts`."""
        if self.shape.group(self.rank) == 0:
            self.parts.send(0, array.tobytes())

    def receive_parts(self, own: np.ndarray, axis: int) -> np.ndarray:
        """On the leader: the whole array of which each part is cut along `axis`."""
        others = [
            np.frombuffer(self.parts.receive(peer), own.dtype).reshape(own.shape)
            for peer in range(1, self.shape.model)
        ]
        return np.concatenate([own, *others], axis)

    @property
    def _each(self) -> Sequence[SocketAllReduce]:
        return self.everyone, self.parts, self.data
