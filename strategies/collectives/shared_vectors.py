"""How do workers on one machine read each other's vectors without sending them?

`SharedVectors` has memory that this worker writes and its peers map, and theirs. It is `memfd` memory of
Linux: it has no name and takes no room in /dev/shm, and the kernel frees it with the last process that
has it, however that one ends. What is written is announced over the connections, on which a lost peer
is noticed too.
"""

import itertools
import mmap
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_BUFFERS = 2


class SharedVectors:
    """This worker's vectors, and those of `peers`, the ranks of the workers that share memory with it.

    There are two buffers, which take turns: while a slower peer reads the last vector, the next one is
    written. A worker may write its buffer again once every peer has announced the vector after it.
    """

    def __init__(self, own: Sequence[int] = (), others: Mapping[int, Sequence[int]] | None = None):
        """`own`, `others`: the descriptors of two files each, as of `files`, which this closes."""
        self._own = [_Mapping(descriptor) for descriptor in own]
        self._others = {
            peer: [_Mapping(descriptor) for descriptor in descriptors]
            for peer, descriptors in (others or {}).items()
        }
        self.peers = frozenset(self._others)
        self._turn = 0
        self._too_large = float("inf")

    def next(self, size: int) -> np.ndarray | None:
        """float32 [size], to be written: what the peers read as `of` this worker.

        Everyone calls it for the same vectors. None if there is no peer, or no memory for it.
        """
        self._turn = (self._turn + 1) % _BUFFERS
        if not self.peers or size >= self._too_large:
            return None
        try:
            return self._own[self._turn].reserved(size)
        except OSError:
            self._too_large = size
            return None

    def of(self, peer: int, size: int) -> np.ndarray:
        """float32 [size]: the vector that the peer has written in this turn."""
        return self._others[peer][self._turn].vector(size)

    def close(self) -> None:
        """Closes the files. Vectors that are still used stay mapped."""
        mappings = itertools.chain(self._own, *self._others.values())
        close_files(mapping.descriptor for mapping in mappings)
        self._own, self._others, self.peers = [], {}, frozenset()


def files() -> list[int]:
    """The descriptors of two empty shared files; none where the system has no such files."""
    found: list[int] = []
    if sys.platform == "linux":
        try:
            for number in range(_BUFFERS):
                found.append(os.memfd_create(f"muster-vectors-{number}"))
        except OSError:  # As where a container forbids it.
            close_files(found)
            return []
    return found


def close_files(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Mapping:
    """A shared file as a vector. It only grows: a peer never reads beyond its end."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self._mapped = np.empty(0, np.float32)

    def reserved(self, size: int) -> np.ndarray:
        """The vector, with memory for all of it. Raises OSError where there is not enough."""
        if size > len(self._mapped):
            os.posix_fallocate(self.descriptor, 0, 4 * size)
        return self.vector(size)

    def vector(self, size: int) -> np.ndarray:
        if size > len(self._mapped):
            self._mapped = np.frombuffer(mmap.mmap(self.descriptor, 4 * size), np.float32)
        return self._mapped[:size]
