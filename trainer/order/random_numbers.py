"""Which random number belongs to an example of an epoch?

One that follows from the seed, the epoch and the example's index alone. It is made with integer
arithmetic, and no library's random generator, so it is the same on every machine.
"""

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: splitmix64's increment.
UINT64 = 2**64 - 1


def mix(state: int) -> int:
    """The finalizer of splitmix64 (Steele, Lea and Flood, 2014): a bijection of 64-bit integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & UINT64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & UINT64
    return state ^ (state >> 31)


def mix_array(state: np.ndarray) -> np.ndarray:
    """`mix` of every element of a uint64 array, whose multiplication is modulo 2**64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(seed: int, epochs: np.ndarray, examples: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, n] in [0, 1): `count` numbers for each pair of an epoch and an example."""
    key = np.uint64(mix((seed + GOLDEN) & UINT64))
    state = mix_array(key ^ (epochs.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
    state = mix_array(state ^ (examples.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
    draws = np.arange(1, count + 1, dtype=np.uint64)[:, np.newaxis] * np.uint64(GOLDEN)
    return (mix_array(state + draws) >> np.uint64(11)) * 2.0**-53
