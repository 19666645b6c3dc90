"""How are numbers added exactly, in any order and under masks?

As integers modulo 2**64: a number is multiplied by 2**28 and rounded. Their sum is exact, so it does not
depend on its order, as long as it stays below 2**63; that is 3e10. A vector with a number that is not
finite, or too large for a sum of N terms, makes the whole sum NaN, which ends a run as a NaN loss does.
"""

import numpy as np

_SCALE = float(1 << 28)
_LIMIT = float(1 << 62)  # Of the sum, multiplied by `_SCALE`.


def encode(vector: np.ndarray, num_terms: int) -> np.ndarray:
    """uint64 [n + 1]: float32 [n] as one of `num_terms` terms, and whether it is out of range."""
    scaled = np.rint(vector.astype(np.float64) * _SCALE)
    is_good = np.abs(scaled) < _LIMIT / num_terms  # False for NaN.
    encoded = np.zeros(len(vector) + 1, np.uint64)
    encoded[:-1] = np.where(is_good, scaled, 0).astype(np.int64).view(np.uint64)
    encoded[-1] = not is_good.all()
    return encoded


def decode(total: np.ndarray) -> np.ndarray:
    """float32 [n]: the sum, from that of the encoded terms modulo 2**64."""
    if total[-1]:
        return np.full(len(total) - 1, np.nan, np.float32)
    return (total[:-1].view(np.int64) / _SCALE).astype(np.float32)


def add(terms: list[np.ndarray]) -> np.ndarray:
    """The sum of encoded terms modulo 2**64."""
    return np.add.reduce(terms, dtype=np.uint64)
