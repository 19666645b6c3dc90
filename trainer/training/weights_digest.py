"""Do two runs end in the same weights?

`of` is a digest of the weights of the whole model, wherever its parts are: equal where every bit is.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from strategies.runtime import Program, Runtime
from strategies.state import State


def of(runtime: Runtime, program: Program, state: State) -> str:
    """`weights_sha256` of the whole model, on the leader; all tasks call it together.

    `state`: what `runtime.view` returned. Other tasks get the digest of what they hold.
    """
    weights_axes, slots_axes, layer_state_axes = program.cut_axes
    without_slots: list[list] = [[] for _ in slots_axes]
    axes = weights_axes, without_slots, layer_state_axes
    whole = runtime.joined(axes, State(state.weights, without_slots, state.layer_state))
    return weights_sha256([*whole.weights, *whole.layer_state])


def weights_sha256(arrays: Iterable[Any]) -> str:
    """sha256 over the weights in the order of the model's trainable variables (layer by layer,
    kernel before bias), and then over its layer state, in the order of its other variables. Each is
    taken as little-endian float32 in C order, or as int64 where it holds integers."""
    digest = hashlib.sha256()
    for array in arrays:
        kind = "<i8" if np.issubdtype(array.dtype, np.integer) else "<f4"
        digest.update(np.ascontiguousarray(array, kind).tobytes())
    return digest.hexdigest()
