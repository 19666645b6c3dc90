"""What does a logical replica compute in a round, and what follows from all replicas' vectors?

`Round` has both as graph functions. `train` takes a replica's steps and returns one vector: how far its
weights moved, times its number of examples, and what else is averaged. `agree` makes the next state from
the sum of all vectors. A replica's vector has the same bits wherever it is computed, as each replica's
steps are one call of the same compiled function.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from strategies.compiled_loop import flatten, fused_steps, graph_function, unflatten
from strategies.runtime import Key, Program
from strategies.state import State
from strategies.sync.agreement import Agreement

# In a vector these follow what is averaged and the sums: the update's square, and whether to stop.
_TAIL = 2


class Shared(NamedTuple):
    """What all replicas have alike between two rounds, as tensors.

    `slots` are those with which each replica starts, unless it keeps its own. `velocities` belong to
    `Agreement.outer`.
    """

    weights: list
    slots: list
    layer_state: list
    velocities: list


class Kept(NamedTuple):
    """What a logical replica keeps from round to round. `residual` belongs to `Agreement.channel`."""

    slots: list
    residual: list


class Round:
    """One round of an agreement, for states of these shapes."""

    def __init__(self, program: Program, agreement: Agreement, state: State):
        self._program, self._agreement = program, agreement
        self._keeps_slots = agreement.slots == "keep"
        self._moving = program.moving_state
        shapes = [weight.shape for weight in state.weights]
        # What is averaged beside the weights: a list of arrays like these.
        self._others = [state.layer_state[index] for index in self._moving]
        if agreement.slots == "average":
            self._others = [slot for own in state.slots for slot in own] + self._others
        self._shapes = [*shapes, *(other.shape for other in self._others)]
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        self.size = sum(sizes) + program.num_sums + _TAIL
        """Of a vector."""
        self.num_bytes = agreement.channel.num_bytes(sizes[: len(shapes)])
        """Of what one replica sends."""
        self.num_bytes += 4 * (self.size - sum(sizes[: len(shapes)]))
        self.channel, self.update_sizes = agreement.channel, sizes[: len(shapes)]
        self.train = graph_function(program, self._train)
        self.agree = graph_function(program, self._agree)

    def _train(self, shared: Shared, kept: Kept, batches, num_rows, key: Key, stop):
        """A replica's vector, float32 [size], and what it keeps.

        Args:
          batches: the replica's stacked batches [k, b, ...], of which the first `num_rows` are the
            round's. Its last ones may have no examples, and are no steps.
          key: the number of the first step, and of the replica.
          stop: float32, above 0 where this task was asked to stop.
        """
        agreement, weights = self._agreement, shared.weights
        slots = kept.slots if self._keeps_slots else shared.slots
        program: Any = self._program
        if agreement.proximal:
            program = _Proximal(program, agreement.proximal, weights)
        before = (weights, slots, shared.layer_state)
        after, sums = fused_steps(
            program,
            before,
            batches,
            _steps(batches[-1], num_rows),
            key,
        )
        moved = _changes(weights, after[0])
        update, residual = agreement.channel.send(moved, kept.residual, key.step, key.share)
        count = sums[-1] if agreement.channel.weighs_by_examples else tf.ones([])
        others = [*zip(self._others_of(before), self._others_of(after), strict=True)]
        # A coded update is weighed where it is decoded.
        is_coded = agreement.channel.is_coded
        averaged = update if is_coded else [count * change for change in update]
        averaged = [*averaged, *(_weighed(old, new, count, key.share) for old, new in others)]
        square = tf.add_n([tf.reduce_sum(tf.square(change)) for change in update])
        vector = tf.concat([flatten(averaged), sums, [count * square, stop]], 0)
        return vector, Kept(after[1] if self._keeps_slots else [], residual)

    def _agree(self, shared: Shared, total):
        """The state of the next round, and the spread. `total`: the sum of the replicas' vectors."""
        agreement, num_weights = self._agreement, len(shared.weights)
        tail = self._program.num_sums + _TAIL
        count, square = total[-_TAIL - 1], total[-_TAIL]
        if not agreement.channel.weighs_by_examples:
            count = tf.constant(float(agreement.replicas))
        scale = 1.0 / tf.maximum(count, 1.0)
        sums = unflatten(total[:-tail], self._shapes)
        update = [one * scale for one in sums[:num_weights]]
        steps, velocities = agreement.outer.steps(update, shared.velocities)
        weights = [_moved(old, step) for old, step in zip(shared.weights, steps, strict=True)]
        slots, layer_state = self._agreed_others(shared, sums[num_weights:], scale)
        # sum_r n_r |u_r - u|^2 = sum_r n_r |u_r|^2 - n |u|^2, of the updates u_r and their mean u.
        apart = square * scale - _square(update)
        average = [
            tf.cast(old, tf.float32) + step
            for old, step in zip(shared.weights, update, strict=True)
        ]
        spread = tf.sqrt(tf.maximum(apart, 0.0) / tf.maximum(_square(average), 1e-30))
        return Shared(weights, slots, layer_state, velocities), spread

    def count_of(self, vector: np.ndarray) -> np.ndarray:
        """By how much a replica counts, from the end of its vector."""
        return vector[-_TAIL - 1]

    def sums_of(self, total: np.ndarray) -> np.ndarray:
        """float32 [num_sums] of a sum of vectors."""
        return total[-_TAIL - self._program.num_sums : -_TAIL]

    def _others_of(self, state: tuple) -> list:
        _, slots, layer_state = state
        found = [layer_state[index] for index in self._moving]
        return [*tf.nest.flatten(slots), *found] if self._agreement.slots == "average" else found

    def _agreed_others(self, shared: Shared, sums: list, scale) -> tuple[list, list]:
        before = self._others_of((shared.weights, shared.slots, shared.layer_state))
        after = [_averaged(old, one, scale) for old, one in zip(before, sums, strict=True)]
        slots, layer_state = shared.slots, list(shared.layer_state)
        num_slots = len(after) - len(self._moving)
        if num_slots:
            slots = tf.nest.pack_sequence_as(slots, after[:num_slots])
        for index, value in zip(self._moving, after[num_slots:], strict=True):
            layer_state[index] = value
        return slots, layer_state


class _Proximal:
    """A program whose loss also has `mu` / 2 times the squared distance of the weights from a center."""

    def __init__(self, program: Program, mu: float, center: list):
        self._program, self._mu, self._center = program, mu, center

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def gradients(self, weights, batch, layer_state, key):
        terms, sums = self._program.gradients(weights, batch, layer_state, key)
        pulls = [
            sums[-1] * self._mu * change for change in _changes(self._center, weights)
        ]  # Of the summed loss.
        pulled = [term + pull for term, pull in zip(terms, pulls, strict=False)]
        return [*pulled, *terms[len(pulled) :]], sums


def _steps(example_weights, num_rows):
    """How many of the first `num_rows` rows have examples. They are the first of these."""
    within = tf.range(example_weights.shape[0]) < num_rows
    has_examples = tf.reduce_any(example_weights > 0, axis=1)
    return tf.math.count_nonzero(within & has_examples, dtype=tf.int32)


def _changes(before: list, after: list) -> list:
    return [
        tf.cast(new, tf.float32) - tf.cast(old, tf.float32)
        for old, new in zip(before, after, strict=True)
    ]


def _weighed(old, new, count, replica):
    """What a replica adds to the sum for an array that is averaged, or counted by replica 0."""
    if old.dtype.is_floating:
        return count * (tf.cast(new, tf.float32) - tf.cast(old, tf.float32))
    moved = tf.cast(tf.cast(new, tf.int64) - tf.cast(old, tf.int64), tf.float32)
    return tf.where(tf.equal(replica, 0), moved, tf.zeros_like(moved))


def _averaged(old, total, scale):
    """The array after an agreement, from the sum of what `_weighed` returned."""
    if old.dtype.is_floating:
        return _moved(old, total * scale)
    moved = tf.cast(tf.round(total), tf.int64)
    return tf.cast(tf.cast(old, tf.int64) + moved, old.dtype)


def _moved(old, step):
    return tf.cast(tf.cast(old, tf.float32) + step, old.dtype)


def _square(tensors: list):
    return tf.add_n([tf.reduce_sum(tf.square(tensor)) for tensor in tensors])
