"""How do workers add vectors that the one who adds them cannot read?

By homomorphic encryption (BFV: Fan and Vercauteren, "Somewhat Practical Fully Homomorphic Encryption",
2012), by the library TenSEAL. Worker 0 adds, and has no secret key. Worker 1 makes the keys, gets nothing
but the encrypted sum, and tells everyone what it is. So no task sees another's vector, unless these two
share what they know.

BFV's numbers are integers modulo a prime of 43 bits. A number modulo 2**64 (`fixed_point.py`) is sent as
two digits of 32 bits, and the sums of the digits are put together again: the total is exact, and has the
same bits as a sum that is not encrypted, as on a single worker.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from strategies.apart import fixed_point
from strategies.apart.summation import Summation
from strategies.collectives.all_reduce import SocketAllReduce
from strategies.collectives.leaf_runs import LeafRuns
from strategies.errors import ClusterError

_ADDS, _HAS_KEY = 0, 1  # Ranks.
_DEGREE = 8192  # Numbers in a ciphertext. TenSEAL's moduli for it give 128 bits of security.
_PRIME = 4398047051777  # 1 modulo 2 * _DEGREE, which is needed to encrypt _DEGREE numbers at once.
MAX_WORKERS = 256  # The sum of their digits is below half of the prime.


class HomomorphicSum(Summation):
    """Adds encrypted vectors, of up to MAX_WORKERS workers."""

    def __init__(self, exchange: SocketAllReduce, rank: int, runs: LeafRuns):
        super().__init__(exchange, rank, runs)
        if exchange.num_workers > MAX_WORKERS:
            raise ClusterError(
                f"`privacy.homomorphic` must be false for more than {MAX_WORKERS} workers, whose sum may "
                f"be too large to decrypt. Received: true for {exchange.num_workers}; start fewer, or "
                "set --config.privacy.secure_aggregation=true instead."
            )
        self._others = [other for other in range(exchange.num_workers) if other != rank]
        self._sent_bytes, self._seconds = 0, 0.0
        if not self._others:
            return
        self._tenseal = tenseal = _library()
        if rank == _HAS_KEY:
            self._context = tenseal.context(tenseal.SCHEME_TYPE.BFV, _DEGREE, _PRIME)
            public = self._context.copy()
            public.make_context_public()
            text = public.serialize()
            for other in self._others:
                exchange.send(other, text)
        else:
            self._context = tenseal.context_from(exchange.receive(_HAS_KEY))

    def total(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        encoded = [fixed_point.encode(leaf, self.runs.num_leaves) for leaf in leaves]
        own = fixed_point.add(encoded)
        return fixed_point.decode(self._total(own) if self._others else own)

    def measures(self) -> dict[str, float]:
        """Bytes of ciphertext that this worker sent so far, and seconds that it encrypted and added."""
        return {"encrypted_bytes": float(self._sent_bytes), "encryption_s": self._seconds}

    def _total(self, own: np.ndarray) -> np.ndarray:
        mine = self._timed(self._encrypted, own)
        if self.rank != _ADDS:
            self._send(_ADDS, mine)
        else:
            for other in self._others:
                received = self._received(other, len(mine))
                mine = self._timed(_added, mine, received)
            self._send(_HAS_KEY, mine)
        if self.rank != _HAS_KEY:
            return np.frombuffer(self.exchange.receive(_HAS_KEY), np.uint64)
        total = self._timed(self._decrypted, self._received(_ADDS, len(mine)), own.size)
        for other in self._others:
            self.exchange.send(other, total.tobytes())
        return total

    def _encrypted(self, numbers: np.ndarray) -> list[Any]:
        digits = numbers.view(np.uint32)
        starts = range(0, len(digits), _DEGREE)
        return [
            self._tenseal.bfv_vector(self._context, digits[start : start + _DEGREE].tolist())
            for start in starts
        ]

    def _decrypted(self, ciphertexts: list[Any], size: int) -> np.ndarray:
        digits = np.array([one for part in ciphertexts for one in part.decrypt()], np.uint64)
        low, high = digits.reshape(size, 2).T
        return low + (high << np.uint64(32))

    def _send(self, other: int, ciphertexts: list[Any]) -> None:
        for one in ciphertexts:
            text = one.serialize()
            self.exchange.send(other, text)
            self._sent_bytes += len(text)

    def _received(self, other: int, count: int) -> list[Any]:
        texts = [self.exchange.receive(other) for _ in range(count)]
        return [self._tenseal.bfv_vector_from(self._context, text) for text in texts]

    def _timed(self, function: Callable, *args: Any) -> Any:
        began = time.monotonic()
        try:
            return function(*args)
        finally:
            self._seconds += time.monotonic() - began


def _library() -> Any:
    """TenSEAL, which has a protobuf of its own: without DEEPBIND it would call TensorFlow's."""
    before = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    try:
        import tenseal
    finally:
        sys.setdlopenflags(before)
    return tenseal


def _added(mine: list[Any], others: list[Any]) -> list[Any]:
    return [one + other for one, other in zip(mine, others, strict=True)]
