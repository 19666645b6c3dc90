"""How is a Keras model called as a pure function?

`Forward` passes it weights and layer state, and returns what the call made of that state. Layer state is
the model's variables that no gradient changes: the averages of batch normalization, frozen weights, and
seeds. It belongs to blocks (`reduction_blocks.py`):

- A floating-point variable moves by the mean, over a batch's examples, of what the call on each block
  changed. So batch normalization keeps the averages of blocks, and where a block has 16 examples, it
  normalizes 16 by 16 (a "ghost batch"). A variable that no call changes keeps its bits.
- Any other variable, such as a counter, moves as the call on the batch's first block moves it.
- A seed never moves: a block draws from the seed, the step and its number. So every block draws its own
  numbers, and the same ones wherever it is computed.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from strategies.runtime import Key
from trainer.model.model_blocks import ModelBlocks, Scope

# A seed is int64 [2], and each draw adds 1 to the second number. So there is room for 65,536 draws in a
# block, and for 65,536 blocks in a step.
_BLOCK_STRIDE, _STEP_STRIDE = 1 << 16, 1 << 32
_EXAMPLE_STRIDE = 1 << 32  # In the first number.


class Forward:
    """A model as a function. `moving`: the indices of the layer state that a call in training changes.

    `more`: variables beside the model's, which are kept with the layer state. `blocks`: cuts its layers.
    """

    def __init__(
        self,
        model: keras.Model,
        more: Sequence[keras.Variable] = (),
        blocks: ModelBlocks | None = None,
    ):
        self.model = model
        self.blocks = blocks or ModelBlocks(1)
        self._weights = list(model.trainable_variables)
        self._cut = frozenset(
            id(weight) for weight in self._weights if self.blocks.axis(weight) is not None
        )
        self.variables = [*model.non_trainable_variables, *more]
        self._is_seed = [is_seed(variable) for variable in self.variables]
        self.moving: list[int] = []

    @property
    def state_names(self) -> list[str]:
        """A unique name for each variable of the layer state."""
        names = variable_names(self.model, self.variables)
        for index, is_seed_ in enumerate(self._is_seed):
            if is_seed_:  # Its path counts all generators that the process has made.
                names[index] = f"seed_{sum(self._is_seed[:index])}"
        return names

    def initial_state(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self.variables]

    def train(self, weights: list, state: list, features: Any, key: Key) -> tuple[Any, list, list]:
        """Outputs, the state after the call, and the penalties on the loss."""
        seeded = [
            _keyed(value, key) if is_seed_ else value
            for value, is_seed_ in zip(state, self._is_seed, strict=True)
        ]
        outputs, after, penalties = self._call(weights, seeded, features, training=True)
        self.moving = [
            index
            for index, (old, new) in enumerate(zip(seeded, after, strict=True))
            if new is not old and not self._is_seed[index]
        ]
        return outputs, after, penalties

    def evaluate(self, weights: list, state: list, features: Any) -> tuple[Any, list]:
        """Outputs and penalties, as in evaluation."""
        outputs, _, penalties = self._call(weights, list(state), features, training=False)
        return outputs, penalties

    def reseeded(self, state: list, example: Any) -> list:
        """The state with other seeds, from which one example of a block draws alone."""
        shift = tf.stack([tf.cast(example, tf.int64) * _EXAMPLE_STRIDE, tf.zeros([], tf.int64)])
        return [
            value + tf.cast(shift, value.dtype) if is_seed_ else value
            for value, is_seed_ in zip(state, self._is_seed, strict=True)
        ]

    def _call(self, weights: list, state: list, features: Any, training: bool):
        # Not `stateless_call`, which tells layers inside nothing of `training` where the model's own
        # `call` does not take it.
        pairs = list(zip(self._weights, weights, strict=True))
        held = [pair for pair in pairs if id(pair[0]) not in self._cut]
        held += zip(self.variables, state, strict=True)
        with self.blocks.holding(self._weights, weights), Scope(held, self._cut) as scope:
            outputs = self.model(features, training=training)
            penalties = list(self.model.losses)
        after = [scope.get_current_value(variable) for variable in self.variables]
        return outputs, after, penalties

    def changes(self, before: list, after: list, count: Any, key: Key) -> list:
        """float32: what one block adds to the terms of a step, for each variable that moves.

        `count`: the block's number of examples.
        """
        is_first = tf.cast(tf.equal(key.share, 0), tf.float32)
        found = []
        for index in self.moving:
            old, new = before[index], tf.convert_to_tensor(after[index])
            if old.dtype.is_floating:
                change = tf.cast(new, tf.float32) - tf.cast(old, tf.float32)
                # A block without examples was computed on padding.
                found.append(tf.where(count > 0, count * change, tf.zeros_like(change)))
            else:
                moved = tf.cast(new, tf.int64) - tf.cast(old, tf.int64)
                found.append(is_first * tf.cast(moved, tf.float32))
        return found

    def mean(self, changes: list, scale: Any) -> list:
        """The changes of a batch from their sums over its blocks. `scale`: 1 / number of examples."""
        return [
            change * scale if self._is_float(index) else change
            for index, change in zip(self.moving, changes, strict=True)
        ]

    def advance(self, state: list, changes: list) -> list:
        """The state after a batch, from the mean changes."""
        state = list(state)
        for index, change in zip(self.moving, changes, strict=True):
            old = state[index]
            if old.dtype.is_floating:
                state[index] = tf.cast(tf.cast(old, tf.float32) + change, old.dtype)
            else:
                moved = tf.cast(old, tf.int64) + tf.cast(tf.round(change), tf.int64)
                state[index] = tf.cast(moved, old.dtype)
        return state

    def change_shapes(self) -> list[tuple[int, ...]]:
        return [tuple(self.variables[index].shape) for index in self.moving]

    def _is_float(self, index: int) -> bool:
        return tf.as_dtype(self.variables[index].dtype).is_floating


def is_seed(variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`."""
    return variable.path.endswith("seed_generator_state") and tuple(variable.shape) == (2,)


def variable_names(model: keras.Model, variables: Sequence[keras.Variable]) -> list[str]:
    """A unique name for each variable, such as "hidden_1/kernel"; a repeated one gets a number."""
    seen: dict[str, int] = {}
    found = []
    for variable in variables:
        name = variable.path.removeprefix(f"{model.name}/")
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}__{seen[name]}")
    return found


def _keyed(seed, key: Key):
    step, share = tf.cast(key.step, tf.int64), tf.cast(key.share, tf.int64)
    counter = step * _STEP_STRIDE + share * _BLOCK_STRIDE
    return seed + tf.cast(tf.stack([tf.zeros_like(counter), counter]), seed.dtype)
