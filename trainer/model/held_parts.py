"""Which arrays does a process hold that computes a part of a model?

Its part of each cut weight and of that weight's slots, and all of everything else. `take` makes a program
one of a part. The state that a run starts from and saves is that of the whole model: `whole` makes its
arrays one at a time, when they are read.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from strategies.cluster.mesh_shape import ModelPart
from strategies.state import Lazy, State
from trainer.config.fields import ConfigError
from trainer.model import elementwise


@contextlib.contextmanager
def unmade() -> Iterator[None]:
    """Inside it a model is built whose variables make their first value each time that it is read."""
    with keras.StatelessScope(initialize_variables=False):
        yield
        # Else the end of any other such scope would make them.
        global_state.set_global_attribute("uninitialized_variables", [])


def take(program: Any, part: ModelPart) -> None:
    """Makes it the program of this part of the model. Raises ConfigError where that is not possible."""
    if program.blocks.number % part.number:
        raise ConfigError(
            f"`model.blocks` must be a multiple of the {part.number} parts of --mesh. Received: "
            f"{program.blocks.number}; try {part.number}."
        )
    _check(program)
    program.blocks.part = part
    program.optimizers = program.optimizers.of_parts([*enumerate(shapes(program))])


def _check(program: Any) -> None:
    """Raises ConfigError where a step needs a number that depends on all parts."""
    if program.global_clipnorm:
        raise ConfigError(
            "`optimizer.global_clipnorm` must be 0 where tasks hold parts of the weights (--mesh), as "
            f"none has the norm of all. Received: {program.global_clipnorm:g}; leave it out."
        )
    if program.loss_scale:
        raise ConfigError(
            "`get_model` must return a model in float32 or bfloat16 where tasks hold parts of its "
            "weights (--mesh). Received: one in float16, whose loss scale follows from all gradients; "
            "use mixed_bfloat16."
        )
    if program.shares_statistics:
        raise ConfigError(
            "`model.batch_norm` must be block where several tasks hold parts of the weights (--mesh). "
            "Received: 'global'; leave it out."
        )
    _check_optimizer(program)


def _check_optimizer(program: Any) -> None:
    cut = [index for index, axis in enumerate(axes(program)[0]) if axis is not None]
    if found := elementwise.connecting(program.optimizers, cut):
        weight, operation = found
        raise ConfigError(
            "`optimizer.name` must be one that updates each number of a weight alone, where several "
            f"tasks hold parts of it (--mesh). Received: {program.optimizers.description}, whose update "
            f"of `{weight}` has a {operation}; try e.g. adam, without a limit on norms."
        )


def shapes(program: Any) -> list[tuple[int, ...]]:
    """The shapes of the weights as this process holds them."""
    blocks = program.blocks
    return [
        blocks.part.shape(tuple(variable.shape), blocks.axis(variable))
        for variable in program.model.trainable_variables
    ]


def axes(program: Any) -> tuple[list, list[list], list]:
    """Along which axis each weight, slot and array of layer state is cut; None: it is not."""
    weights = [program.blocks.axis(variable) for variable in program.model.trainable_variables]
    slots = [
        [axis if len(slot.shape) else None for slot in own]
        for axis, own in zip(weights, program.optimizers.slots(), strict=True)
    ]
    return weights, slots, [None] * len(program.forward.variables)


def initial_state(program: Any) -> State:
    """Where the training of the whole model starts."""

    def lazy(variable, shape, dtype):
        return Lazy(shape, dtype, lambda: _value(variable, shape))

    return State(*whole(program, lazy))


def whole(program: Any, make: Callable) -> tuple[list, list[list], list]:
    """What `make(variable, shape, dtype)` returns for each array of the whole model's state.

    That is (weights, slots, layer state). The variable of a slot may have the shape of a part.
    """

    def made(variable, axis=None):
        shape = program.blocks.part.whole(tuple(variable.shape), axis)
        return make(variable, shape, np.dtype(variable.dtype))

    _, axes_of_slots, _ = axes(program)
    weights = [made(variable) for variable in program.model.trainable_variables]
    slots = [
        [made(*pair) for pair in zip(own, cut, strict=True)]
        for own, cut in zip(program.optimizers.slots(), axes_of_slots, strict=True)
    ]
    return weights, slots, [made(variable) for variable in program.forward.variables]


def bytes_of_weights(program: Any, whole: bool = False) -> dict[int, int]:
    """Of each weight with its slots, by the variable's id: in this process, or of the whole model."""
    part, found = program.blocks.part, {}
    for variable, shape, slots in zip(
        program.model.trainable_variables, shapes(program), program.optimizers.slots(), strict=True
    ):
        axis = program.blocks.axis(variable)
        arrays = [(shape, variable.dtype), *((tuple(slot.shape), slot.dtype) for slot in slots)]
        found[id(variable)] = sum(
            math.prod(part.whole(size, axis) if whole else size) * np.dtype(dtype).itemsize
            for size, dtype in arrays
        )
    return found


def zeros(variable: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.broadcast_to(np.zeros((), dtype), shape)


def _value(variable: Any, shape: tuple[int, ...]) -> np.ndarray:
    found = variable.numpy()
    if found.shape == shape:
        return found
    # An elementwise optimizer's slots begin with one number.
    assert (found == found.flat[0]).all()
    return np.broadcast_to(found.flat[0], shape)
