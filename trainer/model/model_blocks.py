"""How is a layer computed whose numbers are cut into model blocks?

`ModelBlocks` knows which weights are cut into B equal blocks, and which of them this process holds.
What a layer computes by blocks is known to `dense_blocks.py`, `embedding_blocks.py` and
`attention_heads.py`. Only sums connect the blocks: their shares of an output going forward, and the
gradients of an input going backward. Both are added pairwise in the order of the blocks, ((0 + 1) + (2
+ 3)), wherever the blocks are computed. So the bits belong to the blocks, and are the same on any
number of processes that hold a part of them.
"""

import contextlib
import contextvars
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import keras
import tensorflow as tf

from strategies.cluster.mesh_shape import ModelPart
from strategies.collectives.leaf_runs import LeafRuns
from trainer.config.fields import ConfigError

_SEED_STRIDE = 1 << 20  # In the first number of a seed, between the draws of two blocks.

Add = Callable[[Any], Any]


class _Call(NamedTuple):
    """What is known while a model is traced."""

    held: dict[int, Any]  # The values of cut variables, by the variable's id.
    add: Add | None  # Adds the sums of all parts; None: this one holds the whole model.
    graph: Any  # Which is traced.


_CALL: contextvars.ContextVar[_Call] = contextvars.ContextVar("the call that is traced")
_ADD: contextvars.ContextVar[Add | None] = contextvars.ContextVar("how parts add", default=None)


class ModelBlocks:
    """The blocks of a model's cut layers, and the part of them that this process computes.

    `number`: B, the blocks. `kinds`: how a layer is cut, and `reasons`: why another is not, by its id.
    """

    part = ModelPart()

    def __init__(self, number: int):
        self.number = number
        self.kinds: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self._axes: dict[int, int] = {}

    def cut(self, variable: keras.Variable | None, axis: int) -> None:
        """From now on a part holds its blocks of this weight, along `axis`; None: there is none."""
        if variable is not None:
            self._axes[id(variable)] = axis

    @property
    def runs(self) -> LeafRuns:
        """The blocks of each part."""
        return LeafRuns.even(self.number, self.part.number)

    @property
    def own(self) -> range:
        """The blocks of this part."""
        return self.runs.runs[self.part.place]

    @property
    def own_spans(self) -> tuple[range, ...]:
        """The blocks below each of the sums that this part exchanges."""
        return self.runs.roots[self.part.place]

    def axis(self, variable: keras.Variable) -> int | None:
        """Along which axis a weight is cut; None: every part has all of it."""
        return self._axes.get(id(variable))

    def check_call(self, layer: Any) -> None:
        """Raises ConfigError where a layer is called so that parts cannot exchange."""
        if tf.compat.v1.get_default_graph() is not _CALL.get().graph:
            self.refuse(layer, "is called within a loop, a condition or a tf.function")

    def refuse(self, layer: Any, why: str) -> NoReturn:
        """Raises ConfigError. `why`: the layer is called so that it cannot be cut."""
        raise ConfigError(
            f"`model.sharding` must leave out a layer that cannot be computed in parts. Received: "
            f"{layer.name!r}, which {why}; add {layer.name}=replicated."
        )

    @contextlib.contextmanager
    def holding(self, variables: Sequence[keras.Variable], values: Sequence[Any]) -> Iterator[None]:
        """Inside it the model is called, with these values of this part's cut variables."""
        held = dict(zip(map(id, variables), values, strict=True))
        token = _CALL.set(_Call(held, _ADD.get(), tf.compat.v1.get_default_graph()))
        try:
            yield
        finally:
            _CALL.reset(token)

    def held(self, variable: keras.Variable) -> Any:
        """The own blocks of a cut weight, as one array."""
        return _CALL.get().held[id(variable)]

    def values(self, variable: keras.Variable, layer: Any) -> list:
        """The own blocks of a cut weight, in the type in which its layer computes."""
        held = tf.cast(self.held(variable), layer.compute_dtype)
        return tf.split(held, len(self.own), self._axes[id(variable)])

    def copies(self, tensors: Sequence[Any]) -> list[Sequence[Any]]:
        """A copy of each tensor, which may be the same, for each own block.

        The gradient of a tensor is the sum over the blocks of all parts. They are exchanged together.
        """
        add = _CALL.get().add  # The gradient is computed once the call is over.
        places: dict[int, list[int]] = {}
        for place, tensor in enumerate(tensors):
            places.setdefault(id(tensor), []).append(place)

        # One operation: so the order in which a tensor's gradients arrive does not depend on the blocks.
        @tf.custom_gradient
        def copied(*each):
            def gradient(*of_copies):
                def of_each(block):
                    return [
                        functools.reduce(operator.add, [block[place] for place in same])
                        for same in places.values()
                    ]

                of_blocks = [*map(of_each, _grouped(of_copies, len(tensors)))]
                return self._totals(of_blocks, add)

            sources = dict(zip(places, each, strict=True))
            one = [sources[id(tensor)] for tensor in tensors]
            return [tf.identity(source) for _ in self.own for source in one], gradient

        distinct = [tensors[same[0]] for same in places.values()]
        return _grouped(copied(*distinct), len(tensors))

    def added(self, shares: Sequence[Any]) -> Any:
        """The sum of the shares of the blocks of all parts, from those of the own blocks."""
        return _with_equal_gradients(self._total, shares)

    def added_sums(self, sums: Sequence[Any]) -> Any:
        """As `added`, from the sums of the shares below each of `own_spans`."""
        return _with_equal_gradients(self._total_of_sums, sums)

    def dropped(self, inputs: Any, rate: float, seed: Any, index: int) -> Any:
        """Dropout of what the own block of this index computed. `seed`: that of all blocks."""
        shift = tf.constant([self.own[index] * _SEED_STRIDE, 0], seed.dtype)
        small = tf.cast(tf.math.floormod(seed + shift, tf.int32.max - 1), tf.int32)
        return tf.nn.experimental.stateless_dropout(inputs, rate, seed=small)

    def _totals(self, own: list[list], add: Add | None) -> list:
        """Of each of several tensors, which each block has: the sum over the blocks of all parts."""
        if len(own[0]) == 1:
            return [self._total([one for (one,) in own], add)]
        vectors = [tf.concat([tf.reshape(one, [-1]) for one in block], 0) for block in own]
        totals = tf.split(
            self._total(vectors, add), [tf.size(one) for one in own[0]], num=len(own[0])
        )
        return [
            tf.ensure_shape(tf.reshape(total, tf.shape(one)), one.shape)
            for total, one in zip(totals, own[0], strict=True)
        ]

    def _total(self, own: Sequence[Any], add: Add | None) -> Any:
        # Of bfloat16 too: it is added in the type in which parts exchange it.
        terms = [tf.stop_gradient(tf.cast(one, tf.float32)) for one in own]
        total = self._total_of_sums(self.runs.partial_sums(self.part.place, terms), add)
        return tf.cast(total, own[0].dtype)

    def _total_of_sums(self, sums: Sequence[Any], add: Add | None) -> Any:
        if self.part.is_whole:
            (total,) = sums
            return total
        assert add is not None  # A part needs the others.
        total = add(tf.stack([tf.stop_gradient(tf.cast(one, tf.float32)) for one in sums]))
        return tf.cast(tf.stop_gradient(total), sums[0].dtype)


def _with_equal_gradients(total: Callable[[Sequence[Any], Add | None], Any], terms: Any) -> Any:
    """A total of terms, each of which has the gradient of the total."""
    add = _CALL.get().add

    @tf.custom_gradient
    def added(*terms):
        def gradient(of_total):
            return [tf.identity(of_total) for _ in terms]

        return total(terms, add), gradient

    return added(*terms)


def _grouped(found: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [found[first : first + size] for first in range(0, len(found), size)]


def not_plain(
    layer: Any,
    regularizers: Sequence[Any],
    constraints: Sequence[Any],
    holders: Sequence[Any],
    weight: str,
) -> str:
    """Why the weights of a layer are more than numbers that train; "": they are not.

    `holders`: the layers that hold them, of each the one in the attribute `weight`.
    """
    if any(regularizers):
        return "it has a regularizer, which reads whole weights"
    if any(constraints):
        return "it has a constraint, which reads whole weights"
    if any(one.lora_enabled or one.quantization_mode for one in holders):
        return "it has LoRA or is quantized"
    trains = all(one.trainable and getattr(one, weight).trainable for one in holders)
    return "" if layer.trainable and trains else "it does not train"


def replace_call(layer: Any, blockwise: Callable[..., Any]) -> None:
    """Has a layer computed so where a program calls the model; an export calls it as it was made."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if _CALL.get(None) is None:
            return type(layer).call(layer, *args, **kwargs)
        return blockwise(layer, *args, **kwargs)

    layer.call = call


@contextlib.contextmanager
def added_by(add: Add) -> Iterator[None]:
    """Inside it a part of a model is traced, in this thread.

    `add`: called with the sums of this part's subtrees of blocks, [subtrees, ...]; returns the sum over
    the blocks of all parts, [...].
    """
    token = _ADD.set(add)
    try:
        yield
    finally:
        _ADD.reset(token)


class Scope(keras.StatelessScope):
    """Keras's, in which a cut variable may only be read by its own layer.

    `cut`: the ids of these variables.
    """

    def __init__(self, state_mapping: Any, cut: frozenset[int]):
        super().__init__(state_mapping=state_mapping, collect_losses=True)
        self._cut = cut

    def get_current_value(self, variable: keras.Variable) -> Any:
        if id(variable) in self._cut:
            raise ConfigError(
                "`model.sharding` must leave out a layer whose weights others read. Received: "
                f"{variable.path!r}, which is cut; add e.g. NAME=replicated."
            )
        return super().get_current_value(variable)
