"""How does a runtime keep a state in variables, and add up what its loops return?

`read` and `assign` take nests of variables; `collected` empties a list of sums.
"""

from typing import Any

import numpy as np
import tensorflow as tf


def read(variables: Any) -> Any:
    """The nest of their values. In replica context: of this replica's copies."""
    return tf.nest.map_structure(lambda variable: variable.read_value(), variables)


def assign(variables: Any, values: Any) -> None:
    """Replaces their values. In replica context: this replica's copies; else every local one."""
    held, new = tf.nest.flatten(variables), tf.nest.flatten(values)
    for variable, value in zip(held, new, strict=True):
        variable.assign(value, read_value=False)


def collected(pending: list[Any], num_sums: int) -> np.ndarray:
    """float64 [num_sums]: the sum of these float32 vectors, which are taken out of the list."""
    total = np.zeros(num_sums)
    for sums in pending:
        total += np.asarray(sums).astype(np.float64)
    pending.clear()
    return total
