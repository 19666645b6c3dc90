"""How do tests compute a model in parts, each in a thread of its own?"""

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from strategies.cluster.mesh_shape import ModelPart
from strategies.collectives.leaf_runs import LeafRuns
from strategies.runtime import Key
from strategies.state import State
from trainer.config.schema import ModelConfig, OptimizerConfig
from trainer.model import forward, held_parts, losses, optimizers, sharding
from trainer.model.step import TrainingProgram

Make = Callable[[], keras.Model]


def program(
    make: Make,
    config: ModelConfig,
    block_size: int,
    optimizer: str = "adam",
    place: ModelPart | None = None,
) -> TrainingProgram:
    """That of the model, or of this part of it."""
    with held_parts.unmade() if place else contextlib.nullcontext():
        model = make()
    weights = model.trainable_variables
    made = optimizers.Optimizers(
        weights,
        forward.variable_names(model, weights),
        lambda: optimizers.make_optimizer(OptimizerConfig(name=optimizer)),
    )
    found = TrainingProgram(
        model,
        losses.classification(),
        made,
        feature_scale=None,
        uses_xla=False,
        block_size=block_size,
        blocks=sharding.cut(model, config),
    )
    if place:
        held_parts.take(found, place)
    return found


def terms(
    program: TrainingProgram, state: State, batch: tuple, add=None
) -> tuple[list, np.ndarray]:
    """The terms and the sums of a batch of two reduction blocks."""
    weights, layer_state = (
        [tf.constant(np.array(one)) for one in arrays]
        for arrays in (state.weights, state.layer_state)
    )
    found = program.partial_sums(weights, batch, layer_state, Key(0, 0), [2], add_parts=add)
    terms, sums = found[0]
    return [tf.convert_to_tensor(term).numpy() for term in terms], sums.numpy()


class _Meeting:
    """Adds the vectors of parts that run in threads, as `SocketAllReduce.sum_runs` does."""

    def __init__(self, blocks: int, parts: int):
        self._runs = LeafRuns.even(blocks, parts)
        self._held: list = [None] * parts
        self._barrier = threading.Barrier(parts, timeout=200)

    def adder(self, place: int):
        def exchange(*own):
            self._held[place] = own
            self._barrier.wait()
            total = self._runs.total([one for held in self._held for one in held])
            self._barrier.wait()
            return total

        return lambda vectors: tf.constant(exchange(*(vector.numpy() for vector in vectors)))


def assert_same_bits(make_program: Callable, batch: tuple, parts: int) -> None:
    """That parts together have the sums and gradients of the whole.

    `make_program`: called with the place of a part, or None for the whole.
    """
    whole = make_program(None)
    of_whole, sums = terms(whole, whole.initial_state(), batch)
    places = [ModelPart(number, parts) for number in range(parts)]
    programs = [make_program(place) for place in places]
    meeting = _Meeting(whole.blocks.number, parts)

    def of_part(place: ModelPart):
        program = programs[place.place]
        state = program.initial_state()
        state.weights = [
            place.of(np.array(one), axis)
            for one, axis in zip(state.weights, program.cut_axes[0], strict=True)
        ]
        return terms(program, state, batch, meeting.adder(place.place))

    with concurrent.futures.ThreadPoolExecutor(parts) as pool:
        found = list(pool.map(of_part, places))
    for place, program, (own, same) in zip(places, programs, found, strict=True):
        np.testing.assert_array_equal(same, sums)
        axes = [*program.cut_axes[0], *[None] * len(program.forward.moving)]
        for term, mine, axis in zip(of_whole, own, axes, strict=True):
            np.testing.assert_array_equal(mine, place.of(term, axis))
