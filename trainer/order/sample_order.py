"""Which example is at position p of epoch e?

A pure function of the seed says so: a resumed run needs only its step number, and every worker can
compute its own share. An epoch is a keyed permutation: a balanced Feistel network that adds modulo
`side`, the smallest integer whose square is not below the number of examples. A result outside the range
is put through the network again until it is inside ("cycle walking": Black and Rogaway, "Ciphers with
Arbitrary Finite Domains", 2002). It uses integer arithmetic only, and no library's random generator, so
the order is the same on every machine and with every version of a library.
"""

import functools
import math

import numpy as np

from trainer.order.random_numbers import GOLDEN, UINT64, mix, mix_array

PADDING = -1  # Fills the last batch of an epoch where no example is left.

_ROUNDS = 8
_MIN_SIDE = 4  # With a smaller one, some orders of a few examples are more likely than others.
_CACHE_LIMIT = 2**24  # Examples. An epoch's whole order is then at most 64 MiB.
_CHUNK = 2**14  # Positions. Their temporary arrays fit in the processor's cache.


def _round_tables(seed: int, epoch: int, side: int) -> list[np.ndarray]:
    """Per round, what is added to one half for each value of the other: int64 in [0, side).

    A half has few values, so the round function is computed once per epoch for all of them. Each table
    repeats with period `side`, up to the largest unreduced sum that `_network` looks up in it.
    """
    key = mix(mix((seed + GOLDEN) & UINT64) ^ ((epoch + 1) * GOLDEN & UINT64))
    keys = np.array([[mix((key + i * GOLDEN) & UINT64)] for i in range(_ROUNDS)], np.uint64)
    mixed = mix_array(keys + np.arange(1, side + 1, dtype=np.uint64) * np.uint64(GOLDEN))
    additions = ((mixed >> np.uint64(32)) * np.uint64(side) >> np.uint64(32)).astype(np.int64)
    return [np.tile(row, 1 + (i + 1) // 2) for i, row in enumerate(additions)]


def _network(tables: list[np.ndarray], side: int, values: np.ndarray) -> np.ndarray:
    """A permutation of [0, side**2). Sums are reduced modulo `side` once, at the end."""
    left, right = np.divmod(values, side)
    for table in tables:
        left, right = right, left + table.take(right)
    return left % side * side + right % side


class SampleOrder:
    """The order in which a run visits `num_examples` examples, epoch after epoch.

    Step s covers positions [s * global_batch_size, ...) of its epoch. Every epoch visits every
    example exactly once; its last batch is padded with -1 so that shapes stay static.

    Raises ValueError where `num_examples` or `global_batch_size` is below 1, or an index would not
    fit in an int32.
    """

    rows_per_step = 1

    def __init__(self, num_examples: int, global_batch_size: int, seed: int, shuffle: bool = True):
        if not 1 <= num_examples < 2**31:
            raise ValueError(f"`num_examples` must be in [1, 2**31). Received: {num_examples}.")
        if global_batch_size < 1:
            raise ValueError(
                f"`global_batch_size` must be 1 or more. Received: {global_batch_size}."
            )
        self.num_examples = num_examples
        self.global_batch_size = global_batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.steps_per_epoch = -(-num_examples // global_batch_size)
        self._side = max(_MIN_SIDE, math.isqrt(num_examples - 1) + 1)
        # Two epochs each: the loop in progress and the one being prepared may be in different epochs.
        self._tables = functools.lru_cache(maxsize=2)(self._make_tables)
        self._batches = functools.lru_cache(maxsize=2)(self._make_batches)

    def examples(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """int64 example indices, shaped like `positions` (integers in [0, num_examples)).

        Raises IndexError for a position outside the epoch.
        """
        positions = np.asarray(positions, np.int64)
        if positions.size and not 0 <= positions.min() <= positions.max() < self.num_examples:
            raise IndexError(
                f"a position must be in [0, {self.num_examples}). "
                f"Received: {positions.min()} to {positions.max()}."
            )
        return self._examples(epoch, positions)

    def _examples(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        if not self.shuffle:
            return positions.copy()
        flat, indices = positions.ravel(), np.empty(positions.size, np.int64)
        for start in range(0, flat.size, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            indices[chunk] = self._permute(self._tables(epoch), flat[chunk])
        return indices.reshape(positions.shape)

    def visits(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """int64, shaped like `positions`: how often the run has visited each of these examples before."""
        return np.full(np.shape(positions), epoch, np.int64)

    def epoch_of(self, step: int) -> int:
        return step // self.steps_per_epoch

    def step_batch(self, step: int) -> np.ndarray:
        """int32 [global_batch_size]: the examples of one step, -1 where the epoch has run out."""
        return self.steps_batches(step, 1)[0]

    def steps_batches(self, first_step: int, num_steps: int) -> np.ndarray:
        """int32 [num_steps, global_batch_size]: one row per step, across epochs.

        The array may be a view of a cache: do not write to it.
        """
        rows = []
        step, end = first_step, first_step + num_steps
        while step < end:
            epoch, row = divmod(step, self.steps_per_epoch)
            num_rows = min(end - step, self.steps_per_epoch - row)
            rows.append(self._rows(epoch, row, num_rows))
            step += num_rows
        if not rows:
            return np.empty((0, self.global_batch_size), np.int32)
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def steps_visits(self, first_step: int, num_steps: int) -> np.ndarray:
        """int64 [num_steps, global_batch_size]: `visits` of the examples of `steps_batches`."""
        epochs, rows = np.divmod(
            np.arange(first_step, first_step + num_steps), self.steps_per_epoch
        )
        positions = rows[:, np.newaxis] * self.global_batch_size + np.arange(self.global_batch_size)
        positions = np.minimum(positions, self.num_examples - 1)  # Of padding: any number.
        found = [self.visits(int(one), positions[epochs == one]) for one in np.unique(epochs)]
        return np.concatenate(found) if found else np.zeros_like(positions)

    def _rows(self, epoch: int, first_row: int, num_rows: int) -> np.ndarray:
        if self.num_examples <= _CACHE_LIMIT:
            return self._batches(epoch)[first_row : first_row + num_rows]
        return self._pad(epoch, first_row, num_rows)

    def _make_batches(self, epoch: int) -> np.ndarray:
        return self._pad(epoch, 0, self.steps_per_epoch)

    def _make_tables(self, epoch: int) -> list[np.ndarray]:
        return _round_tables(self.seed, epoch, self._side)

    def _pad(self, epoch: int, first_row: int, num_rows: int) -> np.ndarray:
        start = first_row * self.global_batch_size
        stop = min(start + num_rows * self.global_batch_size, self.num_examples)
        batches = np.full(num_rows * self.global_batch_size, PADDING, np.int32)
        batches[: stop - start] = self.examples(epoch, np.arange(start, stop))
        batches.flags.writeable = False
        return batches.reshape(num_rows, self.global_batch_size)

    def _permute(self, tables: list[np.ndarray], values: np.ndarray) -> np.ndarray:
        """int64 [n]: the permuted values; those out of range go through the network again."""
        values = _network(tables, self._side, values)
        outside = np.flatnonzero(values >= self.num_examples)
        while outside.size:
            again = _network(tables, self._side, values[outside])
            values[outside] = again
            outside = outside[again >= self.num_examples]
        return values
