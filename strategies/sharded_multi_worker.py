"""How do workers share the memory of an optimizer's state?

Each holds the slots of its share of the weights only, and updates that share between the two halves of
the all-reduce: it gets the share's summed gradient, and sends the share's updated weights, which are as
many bytes. That is the first stage of ZeRO (Rajbhandari et al., "ZeRO: Memory Optimizations Toward
Training Trillion Parameter Models", 2020).

The bits are those of a whole update, for a program whose update of a number depends on nothing but that
number, its gradient and its slots. To be saved, slots are collected by the leader one array at a time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from strategies import variables, weight_pieces
from strategies.collectives import vector_shares
from strategies.compiled_loop import graph_function, unflatten
from strategies.held_state import Axes
from strategies.multi_worker import MultiWorkerRuntime
from strategies.peers import flattened
from strategies.runtime import Program, ReplicaInput
from strategies.state import Lazy, State
from strategies.weight_pieces import Piece


class ShardedMultiWorkerRuntime(MultiWorkerRuntime):
    """Synchronous data parallelism over two workers or more, each with a part of the slots.

    The slots of a state here are those of this worker's pieces; a weight without a piece has none.
    """

    holds_part = shares_state = True
    _takes_turns = False  # So the memory of an update is free before the next terms need theirs.

    def all_agree(self, answer: bool) -> bool:
        return self.total(float(not answer)) == 0

    def share(self, axes: Axes, state: State) -> State:
        del axes  # Slots are cut into pieces of the weights as vectors.
        weights, layer_state = self.broadcast((state.weights, state.layer_state))
        self._pieces = weight_pieces.cut([weight.shape for weight in weights], self.num_workers)
        self._slot_types = [[(slot.shape, slot.dtype) for slot in own] for own in state.slots]
        slots = [
            [piece for slot in own for piece in self._own_piece(index, slot)]
            for index, own in enumerate(state.slots)
        ]
        return State(weights, slots, layer_state)

    def joined(self, axes: Axes, state: State) -> State:
        slots = [
            [self._whole(index, number, own) for number in range(len(cut))]
            for index, (cut, own) in enumerate(zip(axes[1], state.slots, strict=True))
        ]
        return State(state.weights, slots, state.layer_state)

    def _own_piece(self, index: int, slot: Any) -> list[np.ndarray]:
        """This worker's piece, if it has any, of a slot of this weight that the leader has."""
        own = []
        whole = None if self.rank else np.asarray(slot)  # One at a time, where it is read only now.
        for rank, piece in self._holders(index):
            if whole is None:
                if rank == self.rank:
                    own.append(self._received(0, slot.dtype, piece.shape(slot.shape)))
            elif rank:
                self.exchange.send(rank, piece.of(whole).tobytes())
            else:
                own.append(piece.of(whole).copy())
        return own

    def _whole(self, index: int, number: int, own: Sequence[np.ndarray]) -> Any:
        """On the leader, this slot of a weight as a whole. `own`: this worker's pieces of its slots."""
        shape, dtype = self._slot_types[index][number]
        holders = self._holders(index)
        if not shape:
            holders = holders[:1]  # All have the same number.
        if self.rank:
            if self.rank in [rank for rank, _ in holders]:
                self.exchange.send(0, own[number].tobytes())
            return np.broadcast_to(np.zeros((), dtype), shape)

        def read() -> np.ndarray:
            whole = np.empty(shape, dtype)
            for rank, piece in holders:
                place = piece.of(whole)
                place[...] = self._received(rank, dtype, place.shape) if rank else own[number]
            return whole

        is_here = all(rank == 0 for rank, _ in holders)
        return read() if is_here else Lazy(shape, dtype, read)

    def _holders(self, index: int) -> list[tuple[int, Piece]]:
        """The workers that hold a piece of this weight, in the order of the pieces."""
        return [
            (rank, piece)
            for rank, pieces in enumerate(self._pieces)
            for piece in pieces
            if piece.weight == index
        ]

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        super().start(program, state, train, test, num_steps)
        shapes = [weight.shape for weight in state.weights]
        self._mine = [(one, one.shape(shapes[one.weight])) for one in self._pieces[self.rank]]
        self._num_weights = sum(weight.size for weight in state.weights)
        self._share = vector_shares.shares(self._num_weights, self.num_workers)[self.rank]
        self._piece_update = program.piece_update(self._pieces[self.rank])
        self._compiled_piece_update = graph_function(program, self._update_pieces)

    def _received(self, peer: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self.exchange.receive(peer), dtype).reshape(shape)

    def _all_reduce(self, found, stop):
        """float32 [n + tail]: the updated weights, then all else that the blocks of all workers add."""
        parts, grouped = flattened(found, stop[tf.newaxis])
        common = self._total.size - self._num_weights

        def scatter(*parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with self.exchanging():
                self.exchange.reduce_scatter(grouped(parts), self._total, self._runs, common)
            return self._total[self._share], self._total[self._num_weights :]

        def gather(*pieces: np.ndarray) -> np.ndarray:
            if pieces:
                np.concatenate([piece.ravel() for piece in pieces], out=self._total[self._share])
            with self.exchanging():
                self.exchange.all_gather(self._total, common)
            return self._total

        kinds = [tf.float32, tf.float32]
        gradients, others = tf.numpy_function(scatter, parts, kinds, stateful=True)
        gradients.set_shape([self._share.stop - self._share.start])
        others.set_shape([common])
        # Pieces, not a vector: XLA would fuse the update into the concatenation, and be slow.
        pieces = self._compiled_piece_update(gradients, others)
        total = tf.numpy_function(gather, pieces, tf.float32, stateful=True)
        total.set_shape([self._total.size])
        return total

    def _update_pieces(self, gradients, others):
        """This worker's pieces of the weights after a step. Updates its slots.

        `others`: what follows the gradients in the exchanged vector.
        """
        if not self._mine:
            return []
        weights, slots, _ = self.read_state()
        pieces = [
            tf.reshape(tf.reshape(weights[one.weight], [-1])[one.start : one.stop], shape)
            for one, shape in self._mine
        ]
        own = [slots[one.weight] for one, _ in self._mine]
        summed = unflatten(gradients, [shape for _, shape in self._mine])
        pieces, own = self._piece_update(pieces, own, summed, others[-2])
        held = [self.variables[1][one.weight] for one, _ in self._mine]
        variables.assign(held, own)
        return pieces

    def _step(self, total):
        """Takes the updated weights of all workers, and updates the layer state."""
        weights, _, layer_state = self.variables
        terms = unflatten(total[: -self._tail], self.program.term_shapes)
        means = self.program.mean(terms, total[-2])  # Those of the weights are of no use.
        advanced = self.program.advance(variables.read(layer_state), means)
        variables.assign((weights, layer_state), (terms[: len(weights)], advanced))
