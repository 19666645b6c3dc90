"""How are many steps taken inside one graph function?

`fused_steps` loops over stacked batches within a graph; `CompiledProgram` has it as a function, compiled
by XLA where the program asks for that.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.runtime import Key, Program


def tail(program: Program) -> int:
    """How many numbers follow the terms in the vector that replicas exchange in a step.

    They are the batch's sums, and whether a task was asked to stop.
    """
    return program.num_sums + 1


def _single(terms: list, sums: Any) -> tuple[list, Any]:
    return terms, sums


def fused_steps(
    program: Program,
    state: tuple,
    stacked_batches: tuple,
    num_steps,
    first: Key,
    all_reduce: Callable[[list, Any], tuple[list, Any]] = _single,
) -> tuple:
    """State and sums after one step on each of the first `num_steps` stacked batches.

    The loop is part of the graph, and the step is traced once.

    Args:
      program: the mathematics of a step.
      state: (weights, slots, layer state) as tensors, nested as in `State.parts`.
      stacked_batches: arrays [k, batch, ...], with k >= `num_steps`.
      num_steps: an int32 scalar, a tensor or not.
      first: the key of the first step.
      all_reduce: adds the other replicas' terms and sums to those given.

    Returns:
      (state, float32 [num_sums] over all steps)
    """

    def step(i, state, total):
        batch = tuple(array[i] for array in stacked_batches)
        weights, slots, layer_state = state
        key = first._replace(step=first.step + i)
        terms, sums = all_reduce(*program.gradients(weights, batch, layer_state, key))
        state = updated(program, state, terms, sums[-1])
        return i + 1, state, total + sums

    start = (tf.constant(0), state, tf.zeros([program.num_sums]))
    return tf.while_loop(lambda i, *_: i < num_steps, step, start)[1:]


def updated(program: Program, state: tuple, terms: list, count: Any) -> tuple:
    """The state after a step whose terms, added over `count` examples, are these."""
    weights, slots, layer_state = state
    terms = program.mean(terms, count)
    return *program.update(weights, slots, terms), program.advance(layer_state, terms)


def block_sums(program: Program, state: tuple, stacked_batches: tuple):
    """float32 [k, num_sums]: the sums of each of k stacked batches, without gradients."""
    weights, slots, layer_state = state
    weights = program.evaluated(weights, slots)
    return tf.map_fn(
        lambda batch: program.sums(weights, batch, layer_state),
        stacked_batches,
        fn_output_signature=tf.TensorSpec([program.num_sums], tf.float32),
    )


class CompiledProgram:
    """A `Program` as graph functions, for replicas that exchange their terms between calls.

    Its methods are compiled by XLA where the program uses it.
    """

    def __init__(self, program: Program):
        self._program = program
        self._tail = tail(program)
        self.fused_steps = graph_function(program, self._fused_steps)
        self.gradients = graph_function(program, self._gradients)
        self.update = graph_function(program, self._update)
        self.block_sums = graph_function(program, self._block_sums)

    def _fused_steps(self, state, stacked_batches, num_steps, first):
        """As the function of this name, for a device that trains alone."""
        return fused_steps(self._program, state, stacked_batches, num_steps, first)

    def _gradients(self, weights, batch, layer_state, key):
        """The batch's terms and sums."""
        # Not flattened here: XLA would fuse the matrix products into the concatenation and compute
        # them element by element, 30 times slower.
        return self._program.gradients(weights, batch, layer_state, key)

    def _update(self, state, total):
        """The state after a step. `total`: float32 [n + tail], the exchanged vector's sum."""
        terms = unflatten(total[: -self._tail], self._program.term_shapes)
        return updated(self._program, state, terms, total[-2])

    def _block_sums(self, state, stacked_batches):
        """As the function of this name."""
        return block_sums(self._program, state, stacked_batches)


def graph_function(program: Program, function: Callable):
    """The function as a `tf.function`, compiled by XLA where the program uses it."""
    return tf.function(function, jit_compile=program.uses_xla or None, autograph=False)


def flatten(tensors: list):
    """All tensors as one vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def unflatten(flat, shapes: list) -> list:
    """The consecutive parts of a vector, in these shapes."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    return [tf.reshape(part, s) for part, s in zip(tf.split(flat, sizes), shapes, strict=True)]
