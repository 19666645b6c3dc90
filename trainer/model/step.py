"""What is computed in one step, as mathematics?

`TrainingProgram` turns a Keras model, an objective and an optimizer into pure functions of tensors, so
that a strategy can call them on any device, inside a compiled loop or before an all-reduce. Nothing here
logs, saves or knows how many replicas there are: losses are summed, and divided by the number of examples
once all replicas' sums are added. Gradients are clipped after that, so clipping gives the same result on
any cluster.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from strategies.collectives.tree_sum import tree_sum
from strategies.runtime import Key, State
from trainer.model import batch_statistics, reduction_blocks, side_by_side
from trainer.model.forward import Forward
from trainer.model.loss_scale import LossScale
from trainer.model.losses import Objective
from trainer.model.optimizers import Optimizers


def _pair(arrays: tuple) -> tuple:
    features, targets = arrays
    return features, targets


class TrainingProgram:
    """The step of one experiment. Implements `strategies.runtime.Program`.

    Args:
      model: maps features [b, ...] to outputs.
      objective: what is minimised, and what is reported.
      optimizers: how each weight is updated.
      feature_scale: multiplies the features once they are float32; None: they stay as they are.
      global_clipnorm: the largest norm of the mean gradient over all weights; 0: no limit.
      block_size: examples in each block whose gradient is computed separately, see
        `reduction_blocks.py`; 0: the whole batch is one block.
      sequential: whether the blocks are computed one after another, in the memory of one.
      uses_xla: whether XLA compiles it on a CPU or GPU.
      trims_padding: whether a block with padding is computed at its true size. This needs a graph whose
        shapes may vary; else padding has the weight 0, and a block with padding changes no layer state.
      unpack: (features, targets) of a batch without its weights.
      loss_scale: for a model in float16.
      shares_statistics: whether layers add sums over all blocks within a step (`batch_statistics.py`).
    """

    def __init__(
        self,
        model: keras.Model,
        objective: Objective,
        optimizers: Optimizers,
        feature_scale: float | None = 1.0,
        global_clipnorm: float = 0.0,
        block_size: int = 0,
        sequential: bool = False,
        uses_xla: bool = True,
        trims_padding: bool = False,
        unpack: Callable[[tuple], tuple] = _pair,
        shares_statistics: bool = False,
        loss_scale: LossScale | None = None,
    ):
        self.model = model
        self.uses_xla = uses_xla
        self.forward = Forward(model, loss_scale.variables if loss_scale else ())
        self.objective = objective
        self._optimizers = optimizers
        self.feature_scale = feature_scale
        self._global_clipnorm = global_clipnorm
        self._block_size = block_size
        self._sequential = sequential
        self._trims_padding = trims_padding
        self._unpack = unpack
        self._block_terms: Callable = self.block_terms
        self._sums_of_examples: Callable = self._evaluated
        self.shares_statistics = shares_statistics
        self._loss_scale = loss_scale

    @property
    def weight_names(self) -> list[str]:
        """Such as "hidden_1/kernel", in the order of the model's trainable variables."""
        return self._optimizers.names

    @property
    def num_sums(self) -> int:
        return self.objective.num_sums

    @property
    def term_shapes(self) -> list[tuple[int, ...]]:
        weights = [tuple(variable.shape) for variable in self.model.trainable_variables]
        return weights + self.forward.change_shapes()

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """The mean loss and the metrics of float64 [num_sums]; NaN where there were no examples."""
        return self.objective.means(sums)

    @property
    def metric_names(self) -> list[str]:
        """The names of what `means` returns."""
        return list(self.means(np.zeros(self.num_sums)))

    def initial_weights(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self.model.trainable_variables]

    def initial_slots(self, weights: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        assert len(weights) == len(self.weight_names)
        return [[slot.numpy() for slot in own] for own in self._optimizers.slots()]

    def initial_state(self) -> State:
        """Where training starts."""
        weights = self.initial_weights()
        return State(weights, self.initial_slots(weights), self.forward.initial_state())

    def shapes(self) -> tuple[list, list[list], list]:
        """Arrays of zeros, which take no memory, in the shapes of weights, slots and layer state."""
        weights = [_zeros(variable) for variable in self.model.trainable_variables]
        slots = [[_zeros(slot) for slot in own] for own in self._optimizers.slots()]
        return weights, slots, [_zeros(variable) for variable in self.forward.variables]

    def slot_names(self, index: int) -> list[str]:
        """Such as "iteration" and "momentum": what the optimizer stores for one weight."""
        return self._optimizers.slot_names(index)

    def learning_rate(self, num_updates: int) -> float:
        """That of the update after `num_updates` others."""
        return self._optimizers.learning_rate(num_updates)

    def gradients(self, weights, batch, layer_state=(), key=Key(0, 0), add=None):  # noqa: B008, a constant.
        blocks = reduction_blocks.split(batch, self._block_size)
        keys = [Key(key.step, key.share * len(blocks) + index) for index in range(len(blocks))]
        if self.shares_statistics:
            return self._side_by_side(weights, layer_state, blocks, keys, add)
        found: list[tuple[list, Any]] = []
        for block, own in zip(blocks, keys, strict=True):
            before = found[-1][0] if found and self._sequential else []
            with tf.control_dependencies(before):
                found.append(self._terms(weights, list(layer_state), block, own))
        return reduction_blocks.add(found)

    def as_one_block(self, weights, batch, layer_state, key):
        """As `gradients`, of a batch of any size that is one block."""
        if self.shares_statistics:
            return self._side_by_side(weights, layer_state, [batch], [key], None)
        return self._terms(weights, list(layer_state), batch, key)

    def compile_blocks(self, compiler: Callable[[Callable], Callable]) -> None:
        """From now on each block is computed by what `compiler` makes of a function of it."""
        self._block_terms = compiler(self.block_terms)
        self._sums_of_examples = compiler(self._evaluated)

    def block_specs(self, batch: tuple) -> tuple:
        """The specs of features, targets and weights in `block_terms`, for those of a whole batch."""
        traced = tf.function(self._examples, autograph=False).get_concrete_function(batch)
        rows = batch[-1].shape[0]
        return tf.nest.map_structure(
            lambda spec: tf.TensorSpec([rows, *spec.shape[1:]], spec.dtype),
            traced.structured_outputs,
        )

    def _side_by_side(self, weights, layer_state, blocks, keys, add):
        """The terms and sums of blocks whose layers add sums over all of them."""
        last: list[Any] = []

        def add_all(parts):
            # In one order, so that each replica's sum meets the same sum of the others.
            with tf.control_dependencies(last):
                total = tree_sum(parts)
                last[:] = [total if add is None else add(total)]
            return last[0]

        def terms_of(block, own, add_parts):
            count = tf.math.count_nonzero(block[-1])
            with batch_statistics.added_by(add_parts, count):
                return self._terms(weights, list(layer_state), block, own)

        functions = [functools.partial(terms_of, *pair) for pair in zip(blocks, keys, strict=True)]
        terms, sums = reduction_blocks.add(side_by_side.run(functions, add_all))
        with tf.control_dependencies(last):
            return [tf.identity(term) for term in terms], sums

    def _terms(self, weights, layer_state, block, key):
        return self._block_terms(weights, layer_state, *self._examples(block), key)

    def block_terms(self, weights, layer_state, features, targets, example_weights, key):
        """The terms and sums of a block, as `gradients`."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, after, penalties = self.forward.train(weights, layer_state, features, key)
            sums = self.objective.sums(targets, outputs, penalties, example_weights)
            factor = self._loss_scale.factor(layer_state) if self._loss_scale else None
            loss = sums[0] if factor is None else sums[0] * factor
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        if factor is not None:
            gradients = [gradient / factor for gradient in map(tf.convert_to_tensor, gradients)]
        count = sums[-1]
        if not self._trims_padding:
            rows = tf.cast(tf.shape(example_weights)[0], tf.float32)
            count = tf.where(count < rows, 0.0, count)
        changes = self.forward.changes(layer_state, after, count, key)
        return [*map(tf.convert_to_tensor, gradients), *changes], sums

    def mean(self, terms, count):
        # A product, which XLA fuses into the update; it would run a division as a separate pass.
        scale = 1.0 / tf.maximum(count, 1.0)
        num_weights = len(self.weight_names)
        gradients = [gradient * scale for gradient in terms[:num_weights]]
        if self._global_clipnorm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._global_clipnorm)
        return [*gradients, *self.forward.mean(terms[num_weights:], scale)]

    def update(self, weights, slots, terms):
        gradients = terms[: len(weights)]
        after = self._optimizers.update(weights, slots, gradients)
        if self._loss_scale:
            return self._loss_scale.kept(gradients, (weights, slots), after)
        return after

    def advance(self, layer_state, terms):
        num_weights = len(self.weight_names)
        layer_state = self.forward.advance(layer_state, terms[num_weights:])
        if self._loss_scale:
            return self._loss_scale.advance(layer_state, terms[:num_weights])
        return layer_state

    def evaluated(self, weights, slots):
        return self._optimizers.averaged(weights, slots)

    def sums(self, weights, batch, layer_state=()):
        return self._sums_of_examples(weights, list(layer_state), *self._examples(batch))

    def _evaluated(self, weights, layer_state, features, targets, example_weights):
        outputs, penalties = self.forward.evaluate(weights, layer_state, features)
        return self.objective.sums(targets, outputs, penalties, example_weights)

    def _examples(self, batch):
        """(features, targets, example weights) of a block, at its true size where that can vary."""
        *arrays, example_weights = batch
        if self._trims_padding:
            count = tf.math.count_nonzero(example_weights, dtype=tf.int32)
            rows = tf.maximum(count, 1)  # Layers cannot compute nothing; its weight is 0.
            arrays = [array[:rows] for array in arrays]
            example_weights = example_weights[:rows]
        features, targets = self._unpack(tuple(arrays))
        if self.feature_scale is not None:
            scale: Any = self.feature_scale
            features = tf.cast(features, tf.float32) * scale
        return features, targets, example_weights


def _zeros(variable) -> np.ndarray:
    return np.broadcast_to(np.zeros((), variable.dtype), variable.shape)
