"""How are many steps taken inside one compiled function?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.runtime import NUM_SUMS, Program


def _alone(gradients: list, sums: Any) -> tuple[list, Any]:
    return gradients, sums


def fused_steps(
    program: Program,
    weights: list,
    slots: list,
    stacked_batches: tuple,
    num_steps,
    added: Callable[[list, Any], tuple[list, Any]] = _alone,
) -> tuple:
    """Weights, slots and sums after one step on each of the stacked_batches's first `num_steps` rows.

    For compiled code: to the compiler the loop is one piece, and nothing in it is called again.
    `added` gives gradients and sums with those of the other replicas added to them.
    """

    def step(i, weights, slots, total):
        gradients, sums = added(
            *program.gradients(weights, tuple(array[i] for array in stacked_batches))
        )
        gradients = program.mean(gradients, sums[2])
        weights, slots = program.update(weights, slots, gradients)
        return i + 1, weights, slots, total + sums

    start = (tf.constant(0), weights, slots, tf.zeros([NUM_SUMS]))
    return tf.while_loop(lambda i, *_: i < num_steps, step, start)[1:]


def block_sums(program: Program, weights: list, stacked_batches: tuple):
    """float32 [k, NUM_SUMS]: the sums of each row of a stacked_batches of k rows."""
    return tf.map_fn(
        lambda batch: program.sums(weights, batch),
        stacked_batches,
        fn_output_signature=tf.TensorSpec([NUM_SUMS], tf.float32),
    )


def flatten(tensors: list):
    """All tensors as one vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def unflatten(flat, shapes: list) -> list:
    """The consecutive pieces of a vector, in these shapes."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    return [tf.reshape(part, s) for part, s in zip(tf.split(flat, sizes), shapes, strict=True)]
