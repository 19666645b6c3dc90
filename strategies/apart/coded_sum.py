"""How do workers add updates that are sent in fewer bytes?

Each worker sends the coded update of each of its logical replicas to all others, and everyone decodes and
adds all of them in the tree. A sum of coded updates would be no coded update; so here the bytes grow with
the number of replicas, and pay where these are few or the code is short.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from strategies.apart.summation import Summation
from strategies.collectives.tree_sum import tree_sum


class CodedSum(Summation):
    """Adds what the agreement's channel packs."""

    def total(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        messages = [self._packed(leaf) for leaf in leaves]
        everyone = self._gathered(messages)
        self.update_bytes = round(sum(map(len, everyone)) / len(everyone))
        return tree_sum([self._weighed(message) for message in everyone])

    def _packed(self, leaf: np.ndarray) -> bytes:
        sizes = self.round.update_sizes
        update, rest = leaf[: sum(sizes)], leaf[sum(sizes) :]
        arrays = np.split(update, np.cumsum(sizes)[:-1])
        return rest.tobytes() + self.round.channel.pack(arrays)

    def _gathered(self, messages: list[bytes]) -> list[bytes]:
        """Those of all replicas, in their order."""
        counts = self.runs.counts
        own = np.array([[len(message)] for message in messages], np.int64).reshape(-1, 1)
        lengths = np.concatenate(self.exchange.gather(own, counts))[:, 0]
        rows = np.zeros((len(messages), lengths.max()), np.uint8)
        for row, message in zip(rows, messages, strict=True):
            row[: len(message)] = np.frombuffer(message, np.uint8)
        found = np.concatenate(self.exchange.gather(rows, counts))
        return [row[:length].tobytes() for row, length in zip(found, lengths, strict=True)]

    def _weighed(self, message: bytes) -> np.ndarray:
        """The vector of a replica, its update multiplied by the number of its examples."""
        sizes: Any = self.round.update_sizes
        start = 4 * (self.round.size - sum(sizes))
        rest = np.frombuffer(message, np.float32, start // 4)
        update = self.round.channel.unpack(message[start:], sizes)
        return np.concatenate([self.round.count_of(rest) * update, rest])
