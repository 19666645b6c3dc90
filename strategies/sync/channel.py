"""What of a logical replica's update reaches the others, and in how many bytes?

Each update passes through the `send` of one `Channel` before it is summed. `Channel` itself sends every
number as it is. What codes an update, clips it or adds noise to it is a subclass.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

_FLOAT32 = 4  # Bytes.


@dataclasses.dataclass(frozen=True)
class Channel:
    """Sends updates in float32. All methods but `initial` may be called in compiled code."""

    weighs_by_examples: ClassVar[bool] = True
    """Whether a replica counts by its number of examples, or as much as any other."""

    is_coded: ClassVar[bool] = False
    """Whether what is sent is packed into fewer bytes."""

    def initial(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a replica keeps from one update for the next, before the first; here nothing.

        Each array belongs to one logical replica, and checkpoints have it.
        """
        del weights
        return []

    def send(self, update: list, kept: list, step: Any, replica: Any) -> tuple[list, list]:
        """The update as all others receive it, and what the replica keeps for its next one.

        Args:
          update: float32, shaped like the weights: how far they moved in the round.
          kept: as `initial` returns it.
          step, replica: the first step of the round and the number of the logical replica. What is drawn
            follows from them, so it is the same wherever the replica is computed.
        """
        del step, replica
        return update, kept

    def num_bytes(self, sizes: Sequence[int]) -> int:
        """Bytes of one replica's update, whose arrays have these numbers of elements."""
        return _FLOAT32 * sum(sizes)

    def pack(self, arrays: Sequence[np.ndarray]) -> bytes:
        """An update that `send` returned, flat arrays, as a message. For the task that sends it."""
        return b"".join(array.tobytes() for array in arrays)

    def unpack(self, message: bytes, sizes: Sequence[int]) -> np.ndarray:
        """float32 [n]: the same numbers; `sizes` are those of the arrays."""
        del sizes
        return np.frombuffer(message, np.float32)
