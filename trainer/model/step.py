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

from strategies.collectives.leaf_runs import LeafRuns
from strategies.runtime import Key
from strategies.state import State
from strategies.weight_pieces import RowsRead
from trainer.model import connected_blocks, held_parts, piece_update, reduction_blocks
from trainer.model.forward import Forward
from trainer.model.loss_scale import LossScale
from trainer.model.losses import Objective
from trainer.model.model_blocks import ModelBlocks
from trainer.model.optimizers import Optimizers
from trainer.model.private_gradients import PrivateGradients


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
      private: clips the gradient of each example, and adds noise.
      blocks: cuts layers into model blocks (`model_blocks.py`); None: no layer is cut.
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
        private: PrivateGradients | None = None,
        blocks: ModelBlocks | None = None,
    ):
        self.model = model
        self.uses_xla = uses_xla
        self.forward = Forward(model, loss_scale.variables if loss_scale else (), blocks)
        self.blocks = self.forward.blocks
        self.objective = objective
        self.optimizers = optimizers
        self.feature_scale = feature_scale
        self.global_clipnorm = global_clipnorm
        self._block_size = block_size
        self._sequential = sequential
        self._trims_padding = trims_padding
        self.unpack = unpack
        self._block_terms: Callable = self.block_terms
        self._sums_of_examples: Callable = self._evaluated
        self.shares_statistics = shares_statistics
        self.loss_scale = loss_scale
        self._private = private
        self.tables: dict[int, RowsRead] = {}  # None, until it is asked for (`embedding_rows.py`).

    @property
    def weight_names(self) -> list[str]:
        """Such as "hidden_1/kernel", in the order of the model's trainable variables."""
        return self.optimizers.names

    @property
    def num_sums(self) -> int:
        return self.objective.num_sums

    @property
    def moving_state(self) -> list[int]:
        end = len(self.forward.variables)
        own = len(self.loss_scale.variables) if self.loss_scale else 0
        return [*self.forward.moving, *range(end - own, end)]

    @property
    def term_shapes(self) -> list[tuple[int, ...]]:
        return held_parts.shapes(self) + self.forward.change_shapes()

    @property
    def cut_axes(self) -> tuple[list, list[list], list]:
        return held_parts.axes(self)

    @property
    def model_runs(self) -> LeafRuns:
        return self.blocks.runs

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
        return self.optimizers.initial_slots()

    def initial_state(self) -> State:
        """Where training starts, the state of the whole model."""
        if not self.blocks.part.is_whole:
            return held_parts.initial_state(self)
        weights = self.initial_weights()
        return State(weights, self.initial_slots(weights), self.forward.initial_state())

    def shapes(self) -> tuple[list, list[list], list]:
        """Arrays of zeros, which take no memory, in the shapes of the whole model's state."""
        return held_parts.whole(self, held_parts.zeros)

    def slot_names(self, index: int) -> list[str]:
        """Such as "iteration" and "momentum": what the optimizer stores for one weight."""
        return self.optimizers.slot_names(index)

    def learning_rate(self, num_updates: int) -> float:
        """That of the update after `num_updates` others."""
        return self.optimizers.learning_rate(num_updates)

    @property
    def connects_blocks(self) -> bool:
        return self.shares_statistics or self._sequential or not self.blocks.part.is_whole

    def gradients(self, weights, batch, layer_state=(), key=Key(0, 0)):  # noqa: B008, a constant.
        size = len(reduction_blocks.split(batch, self._block_size))
        first = Key(key.step, key.share * size)
        return self.partial_sums(weights, batch, layer_state, first, [size])[0]

    def partial_sums(self, weights, batch, layer_state, key, sizes, add=None, add_parts=None):
        split = reduction_blocks.split(batch, self._block_size)
        blocks = [(one, Key(key.step, key.share + index)) for index, one in enumerate(split)]
        terms = functools.partial(self._terms, weights, list(layer_state))
        if not self.blocks.part.is_whole:
            found = connected_blocks.with_parts(terms, blocks, add_parts)
        elif self.shares_statistics:
            found = connected_blocks.with_statistics(terms, blocks, sizes, add)
        else:
            found = self._one_by_one(terms, blocks)
        return [reduction_blocks.add(one) for one in reduction_blocks.grouped(found, sizes)]

    def as_one_block(self, weights, batch, layer_state, key):
        """As `gradients`, of a batch of any size that is one block."""
        terms = functools.partial(self._terms, weights, list(layer_state))
        if self.shares_statistics:
            return connected_blocks.with_statistics(terms, [(batch, key)], [1], None)[0]
        return terms(batch, key)

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

    def _one_by_one(self, terms, blocks):
        """The terms and sums of blocks that know nothing of each other."""
        found: list[tuple[list, Any]] = []
        for block in blocks:
            before = found[-1][0] if found and self._sequential else []
            with tf.control_dependencies(before):
                found.append(terms(*block))
        return found

    def _terms(self, weights, layer_state, block, key):
        return self._block_terms(weights, layer_state, *self._examples(block), key)

    def block_terms(self, weights, layer_state, features, targets, example_weights, key):
        """The terms and sums of a block, as `gradients`."""
        block = features, targets, example_weights
        if self._private:
            gradients, after, sums = self._private.found(self, weights, layer_state, block, key)
        else:
            gradients, after, sums = self._found(weights, layer_state, block, key)
        count = sums[-1]
        if not self._trims_padding:
            rows = tf.cast(tf.shape(example_weights)[0], tf.float32)
            count = tf.where(count < rows, 0.0, count)
        changes = self.forward.changes(layer_state, after, count, key)
        return [*map(tf.convert_to_tensor, gradients), *changes], sums

    def _found(self, weights, layer_state, block, key):
        """A block's gradients, the layer state after it, and its sums."""
        features, targets, example_weights = block
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, after, penalties = self.forward.train(weights, layer_state, features, key)
            sums = self.objective.sums(targets, outputs, penalties, example_weights)
            factor = self.loss_scale.factor(layer_state) if self.loss_scale else None
            loss = sums[0] if factor is None else sums[0] * factor
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        if factor is not None:
            gradients = [gradient / factor for gradient in map(tf.convert_to_tensor, gradients)]
        return gradients, after, sums

    def _scale(self, count):
        if self._private:
            count = tf.cast(self._private.batch_size, tf.float32)
        # A product, which XLA fuses into the update; it would run a division as a separate pass.
        return 1.0 / tf.maximum(count, 1.0)

    def mean(self, terms, count):
        scale, num_weights = self._scale(count), len(self.weight_names)
        gradients = [gradient * scale for gradient in terms[:num_weights]]
        if self.global_clipnorm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.global_clipnorm)
        return [*gradients, *self.forward.mean(terms[num_weights:], scale)]

    def update(self, weights, slots, terms):
        gradients = terms[: len(weights)]
        after = self.optimizers.update(weights, slots, gradients)
        if self.loss_scale:
            return self.loss_scale.kept(gradients, (weights, slots), after)
        return after

    def piece_update(self, pieces):
        return piece_update.of(self, self._scale, pieces)

    def advance(self, layer_state, terms):
        num_weights = len(self.weight_names)
        layer_state = self.forward.advance(layer_state, terms[num_weights:])
        if self.loss_scale:
            return self.loss_scale.advance(layer_state, terms[:num_weights])
        return layer_state

    def evaluated(self, weights, slots):
        return self.optimizers.averaged(weights, slots)

    def sums(self, weights, batch, layer_state=(), add_parts=None):
        def compute(batch):
            return self._sums_of_examples(weights, list(layer_state), *self._examples(batch))

        if self.blocks.part.is_whole:
            return compute(batch)
        return connected_blocks.with_parts(compute, [(batch,)], add_parts)[0]

    def outputs(self, weights, batch, layer_state=()):
        """What the model answers for the features of a batch, as evaluation computes it."""
        features, _, _ = self._examples(batch)
        return self.forward.evaluate(weights, list(layer_state), features)[0]

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
        features, targets = self.unpack(tuple(arrays))
        if self.feature_scale is not None:
            scale: Any = self.feature_scale
            features = tf.cast(features, tf.float32) * scale
        return features, targets, example_weights
