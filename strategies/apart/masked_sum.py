"""How do workers add vectors without showing theirs to anyone?

By pairwise masks (Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning", 2017): each two workers agree on a key (X25519), draw the same numbers from it for each sum,
and one adds them to its vector while the other subtracts them. Each message alone is uniform modulo
2**64; in the sum of all the masks cancel, exactly (`fixed_point.py`). So the sum has the same bits
without masks, on a single worker.

A worker that is lost ends the round for all, and the run resumes from its last checkpoint, with or
without it. So no masks have to be recovered, for which Bonawitz et al. share keys among the others.
"""

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strategies.apart import fixed_point
from strategies.apart.summation import Summation
from strategies.collectives.all_reduce import SocketAllReduce
from strategies.collectives.leaf_runs import LeafRuns

_KEY_BYTES = 32


class MaskedSum(Summation):
    """Adds vectors under pairwise masks. Keys are new in each process, and masks in each sum."""

    def __init__(self, exchange: SocketAllReduce, rank: int, runs: LeafRuns):
        super().__init__(exchange, rank, runs)
        own = X25519PrivateKey.generate()
        public = np.frombuffer(own.public_key().public_bytes_raw(), np.uint8)
        everyone = exchange.gather(public[np.newaxis].copy(), (1,) * exchange.num_workers)
        self._keys = {
            peer: _shared_key(own, key.tobytes())
            for peer, key in enumerate(everyone)
            if peer != rank
        }
        self._sums = 0

    def total(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        message = self.message(leaves)
        self.update_bytes = message.nbytes
        everyone = self.exchange.gather(message[np.newaxis], (1,) * self.exchange.num_workers)
        return fixed_point.decode(fixed_point.add([rows[0] for rows in everyone]))

    def message(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        """uint64 [n + 1]: the masked sum of this worker's vectors, as the next `total` sends it."""
        encoded = [fixed_point.encode(leaf, self.runs.num_leaves) for leaf in leaves]
        message = fixed_point.add(encoded)
        for peer, key in self._keys.items():
            mask = _drawn(key, self._sums, message.size)
            message = message + mask if self.rank < peer else message - mask
        self._sums += 1
        return message


def _shared_key(own: X25519PrivateKey, public: bytes) -> bytes:
    shared = own.exchange(X25519PublicKey.from_public_bytes(public))
    kdf = HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=b"muster pairwise masks")
    return kdf.derive(shared)


def _drawn(key: bytes, number: int, size: int) -> np.ndarray:
    """uint64 [size]: the key stream of ChaCha20 for the sum of this number."""
    nonce = (0).to_bytes(8, "little") + number.to_bytes(8, "little")
    stream = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(8 * size)), "<u8").astype(np.uint64, copy=False)
