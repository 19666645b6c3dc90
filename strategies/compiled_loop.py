"""How are many steps taken inside one compiled function?

`fused_steps` loops over stacked batches within a graph; XLA compiles it as part of a `CompiledProgram`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.runtime import NUM_SUMS, Program

# What replicas exchange in a step is one vector: all gradients, the batch's sums, and whether a task was
# asked to stop. TAIL: how many numbers follow the gradients.
TAIL = NUM_SUMS + 1


def _single(gradients: list, sums: Any) -> tuple[list, Any]:
    return gradients, sums


def fused_steps(
    program: Program,
    weights: list,
    slots: list,
    stacked_batches: tuple,
    num_steps,
    all_reduce: Callable[[list, Any], tuple[list, Any]] = _single,
) -> tuple:
    """Weights, slots and sums after one step on each of the first `num_steps` stacked batches.

    For compiled code: the compiler sees the loop as a whole, and the step is traced once.

    Args:
      program: the mathematics of a step.
      weights: a list of tensors.
      slots: for each weight, the list of its optimizer's slots.
      stacked_batches: arrays [k, batch, ...], with k >= `num_steps`.
      num_steps: an int32 scalar, a tensor or not.
      all_reduce: adds the other replicas' gradients and sums to those given.

    Returns:
      (weights, slots, float32 [NUM_SUMS] over all steps)
    """

    def step(i, weights, slots, total):
        gradients, sums = all_reduce(
            *program.gradients(weights, tuple(array[i] for array in stacked_batches))
        )
        gradients = program.mean(gradients, sums[2])
        weights, slots = program.update(weights, slots, gradients)
        return i + 1, weights, slots, total + sums

    start = (tf.constant(0), weights, slots, tf.zeros([NUM_SUMS]))
    return tf.while_loop(lambda i, *_: i < num_steps, step, start)[1:]


def block_sums(program: Program, weights: list, stacked_batches: tuple):
    """float32 [k, NUM_SUMS]: the sums of each of k stacked batches, without gradients."""
    return tf.map_fn(
        lambda batch: program.sums(weights, batch),
        stacked_batches,
        fn_output_signature=tf.TensorSpec([NUM_SUMS], tf.float32),
    )


class CompiledProgram:
    """A `Program` compiled by XLA, for replicas that exchange gradients between compiled calls."""

    def __init__(self, program: Program):
        self._program = program

    @tf.function(jit_compile=True, autograph=False)
    def fused_steps(self, weights, slots, stacked_batches, num_steps):
        """As the function of this name, for a device that trains alone."""
        return fused_steps(self._program, weights, slots, stacked_batches, num_steps)

    @tf.function(jit_compile=True, autograph=False)
    def gradients(self, weights, batch):
        """Gradients of the summed loss, shaped like `weights`, and the batch's sums."""
        # Not flattened here: XLA would fuse the matrix products into the concatenation and compute
        # them element by element, 30 times slower.
        return self._program.gradients(weights, batch)

    @tf.function(jit_compile=True, autograph=False)
    def update(self, weights, slots, total):
        """Weights and slots after a step. `total`: float32 [n + TAIL], the exchanged vector's sum."""
        gradients = unflatten(total[:-TAIL], [weight.shape for weight in weights])
        gradients = self._program.mean(gradients, total[-2])
        return self._program.update(weights, slots, gradients)

    @tf.function(jit_compile=True, autograph=False)
    def block_sums(self, weights, stacked_batches):
        """As the function of this name."""
        return block_sums(self._program, weights, stacked_batches)


def flatten(tensors: list):
    """All tensors as one vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def unflatten(flat, shapes: list) -> list:
    """The consecutive parts of a vector, in these shapes."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    return [tf.reshape(part, s) for part, s in zip(tf.split(flat, sizes), shapes, strict=True)]
