"""Which examples does a logical replica train on that has a share of the data to itself?

`ReplicaShares`: in each step, a replica's part of the batch is from its own share. `ClientRounds`: in
each round some of the clients train on all of their shares. Both follow from the seed alone, as the order
of a run without shares does.
"""

from collections.abc import Sequence

import numpy as np

from trainer.order.sample_order import PADDING, SampleOrder

# Between the seeds of two shares' orders, and between these and the draws of clients.
_SEED_STEP = 0xD1B54A32D192ED03
_DRAW_STEP = 0x8CB92BA72F3D8DD7


def _orders(
    shares: Sequence[np.ndarray], batch_size: int, seed: int, shuffle: bool, first: int = 0
) -> list[SampleOrder]:
    """An order of each share of its own; it counts the examples of that share. `first`: its number."""
    return [
        SampleOrder(len(share), batch_size, seed + (1 + number) * _SEED_STEP, shuffle)
        for number, share in enumerate(shares, first)
    ]


def _examples(share: np.ndarray, places: np.ndarray) -> np.ndarray:
    """int32: the examples at these places of a share; padding stays."""
    return np.where(places == PADDING, PADDING, share[places]).astype(np.int32)


class ReplicaShares:
    """Steps in which replica r has `replica_batch_size` examples of share r.

    An epoch visits every example exactly once. It ends with the longest share; a replica whose share is
    shorter has no more examples then.
    """

    rows_per_step = 1

    def __init__(
        self, shares: Sequence[np.ndarray], replica_batch_size: int, seed: int, shuffle: bool = True
    ):
        self.shuffle = shuffle
        self.global_batch_size = replica_batch_size * len(shares)
        self._shares = shares
        self._orders = _orders(shares, replica_batch_size, seed, shuffle)
        self.steps_per_epoch = max(order.steps_per_epoch for order in self._orders)

    def steps_batches(self, first_step: int, num_steps: int) -> np.ndarray:
        """int32 [num_steps, global_batch_size]: one row per step, the replicas side by side."""
        rows = [self._row(step) for step in range(first_step, first_step + num_steps)]
        return np.stack(rows) if rows else np.empty((0, self.global_batch_size), np.int32)

    def steps_visits(self, first_step: int, num_steps: int) -> np.ndarray:
        """int [num_steps, 1]: the epoch of each row."""
        return (first_step + np.arange(num_steps)[:, np.newaxis]) // self.steps_per_epoch

    def _row(self, step: int) -> np.ndarray:
        epoch, row = divmod(step, self.steps_per_epoch)
        parts = []
        for share, order in zip(self._shares, self._orders, strict=True):
            if row < order.steps_per_epoch:
                places = order.step_batch(epoch * order.steps_per_epoch + row)
                parts.append(_examples(share, places))
            else:
                parts.append(np.full(order.global_batch_size, PADDING, np.int32))
        return np.concatenate(parts)


class ClientRounds:
    """Rounds in each of which `clients_per_round` of the clients make `local_epochs` passes.

    Client c has the examples `shares[c]`, in batches of `client_batch_size`. `first_client` is the number
    of the first of them in a run whose other clients are elsewhere. A step of this order is a round, and
    so is an epoch. A round has `rows_per_step` rows, as many as the largest client needs; the
    columns of a client that needs fewer are padded below.
    """

    steps_per_epoch = 1

    def __init__(
        self,
        shares: Sequence[np.ndarray],
        clients_per_round: int,
        client_batch_size: int,
        local_epochs: int,
        seed: int,
        shuffle: bool = True,
        first_client: int = 0,
    ):
        self.shuffle = shuffle
        self.global_batch_size = clients_per_round * client_batch_size
        self._shares, self._epochs = shares, local_epochs
        self._batch_size = client_batch_size
        self._orders = _orders(shares, client_batch_size, seed, shuffle, first_client)
        self._draws = SampleOrder(len(shares), clients_per_round, seed + first_client * _DRAW_STEP)
        self.rows_per_step = local_epochs * max(order.steps_per_epoch for order in self._orders)

    def clients(self, round_: int) -> list[int]:
        """The clients of a round, in ascending order: a sample without replacement."""
        places = np.arange(self._draws.global_batch_size)
        return sorted(self._draws.examples(round_, places).tolist())

    def steps_batches(self, first_step: int, num_steps: int) -> np.ndarray:
        """int32 [num_steps * rows_per_step, global_batch_size]: the clients of a round side by side."""
        rounds = range(first_step, first_step + num_steps)
        rows = [np.hstack([self._client_rows(r, c) for c in self.clients(r)]) for r in rounds]
        return np.vstack(rows) if rows else np.empty((0, self.global_batch_size), np.int32)

    def steps_visits(self, first_step: int, num_steps: int) -> np.ndarray:
        """int [num_steps * rows_per_step, global_batch_size]: which pass each example is in."""
        rounds = range(first_step, first_step + num_steps)
        return np.vstack([self._round_epochs(round_) for round_ in rounds])

    def _round_epochs(self, round_: int) -> np.ndarray:
        rows = np.arange(self.rows_per_step)
        per_epoch = [self._orders[client].steps_per_epoch for client in self.clients(round_)]
        passes = np.stack([rows // steps for steps in per_epoch], axis=1)
        return np.repeat(round_ * self._epochs + passes, self._batch_size, axis=1)

    def _client_rows(self, round_: int, client: int) -> np.ndarray:
        order = self._orders[client]
        num_rows = self._epochs * order.steps_per_epoch
        places = order.steps_batches(round_ * num_rows, num_rows)
        rows = _examples(self._shares[client], places)
        padding = ((0, self.rows_per_step - num_rows), (0, 0))
        return np.pad(rows, padding, constant_values=PADDING)
