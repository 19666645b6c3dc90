"""Which noise does a step get? Normal numbers that follow from a seed and the step, on any cluster.

They are drawn by Philox, a counter-based generator, so no number depends on those that were drawn before.
"""

from typing import Any

import numpy as np


def normal(shape: Any, seed: int, purpose: int, index: int, step: Any) -> Any:
    """float32 [shape], with standard deviation 1. A graph function.

    Args:
      seed: of the run.
      purpose: sets these numbers apart from others that follow from the seed.
      index: of the array among those of the step.
      step: of the run, or its first one in a round; a tensor or not.
    """
    import tensorflow as tf  # Not at the top: configs are read without it.

    own = ((seed << 16) + index) ^ purpose
    first = tf.constant(own & np.iinfo(np.int64).max, tf.int64)
    key = tf.stack([first, tf.cast(step, tf.int64)])
    return tf.random.stateless_normal(shape, key, alg="philox")
