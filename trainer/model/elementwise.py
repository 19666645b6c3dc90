"""Does an optimizer update each number of a weight without looking at the others?

`connecting` reads the operations of an update. One that does so may be computed on any piece of a weight,
with the same bits: each operation on the weight's numbers is one whose result IEEE 754 defines for each
number, such as a sum, a product or a square root. Powers and logarithms are not among them: their last
bits may depend on where in a vector register a number is.
"""

from collections.abc import Iterable

import tensorflow as tf

from trainer.model.optimizers import Optimizers

_OF_EACH = frozenset(
    """
    Abs Add AddN AddV2 ClipByValue Div DivNoNan Maximum Minimum Mul Neg RealDiv Reciprocal Sign Sqrt
    Square SquaredDifference Sub
    Equal Greater GreaterEqual IsFinite IsInf IsNan Less LessEqual LogicalAnd LogicalNot LogicalOr
    NotEqual Select SelectV2
    Cast EnsureShape Identity IdentityN OnesLike StopGradient ZerosLike
    """.split()
)
_EQUAL_NUMBERS = frozenset("Fill OnesLike ZerosLike".split())


def connecting(optimizers: Optimizers, indices: Iterable[int] = ()) -> tuple[str, str] | None:
    """A weight whose numbers an update connects, and the operation that does; None where none does.

    `indices`: of the weights to look at; none: all.
    """
    found: dict[object, str] = {}
    for index in indices or range(len(optimizers.names)):
        key = optimizers.key(index)
        if key not in found:
            found[key] = _connecting_operation(*optimizers.trace(index))
        if found[key]:
            return optimizers.names[index], found[key]
    return None


def _connecting_operation(graph: tf.Graph, shape: tf.TensorShape) -> str:
    """The type of the first such operation in the update of a weight of this shape; "" for none."""
    # The tensors that hold numbers of the weight, of its gradient or of its slots.
    numbers = {id(one) for one in graph.inputs if one.dtype != tf.resource and one.shape.rank}
    for operation in graph.get_operations():
        if operation.type == "Shape" or not any(id(one) in numbers for one in operation.inputs):
            continue
        others = [one for one in operation.inputs if one.shape.rank and id(one) not in numbers]
        shapes = [one.shape for one in (*operation.inputs, *operation.outputs) if one.shape.rank]
        if (
            operation.type not in _OF_EACH
            or any(one != shape for one in shapes)
            or not all(map(_has_equal_numbers, others))
        ):
            return operation.type
        numbers |= {id(one) for one in operation.outputs}
    return ""


def _has_equal_numbers(tensor: tf.Tensor) -> bool:
    value = tf.get_static_value(tensor)
    return tensor.op.type in _EQUAL_NUMBERS or (
        value is not None and bool((value == value.flat[0]).all())
    )
