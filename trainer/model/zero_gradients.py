"""What does an optimizer change of a row whose gradient is 0?

`changed` follows zeros through the operations of an update. Without a gradient, SGD and Adagrad leave a
row and its slots as they are, to the bit: x - 0 is x. Momentum, averages of gradients, weight decay and
averages of weights change it.
"""

import tensorflow as tf

from trainer.model.optimizers import Optimizers

_ZERO = -1  # What a tensor is known to be: this, or the number of the input that it equals.
_KEEP = frozenset("EnsureShape Identity StopGradient".split())
_OF_ZERO = frozenset("Abs Neg Sign Sqrt Square".split())  # They make 0 of 0.
_OVER = frozenset("Div DivNoNan RealDiv".split())


def changed(optimizers: Optimizers, index: int) -> str:
    """What the update of a weight changes where the gradient is 0, such as "velocity"; "": nothing."""
    graph, shape = optimizers.trace(index)
    names = optimizers.slot_names(index)
    known = {id(one): number for number, one in enumerate(graph.inputs)}
    known[id(graph.inputs[len(names)])] = _ZERO  # The gradient comes between slots and weight.
    for operation in graph.get_operations():
        if len(operation.outputs) == 1 and id(operation.outputs[0]) not in known:
            (output,) = operation.outputs
            found = _result(operation, [known.get(id(one)) for one in operation.inputs])
            if found == _ZERO or (found is not None and graph.inputs[found].shape == output.shape):
                known[id(output)] = found
    (weight,), slots = graph.structured_outputs
    numbers = [*range(len(names)), len(names) + 1]
    for name, after, number in zip([*names, "weight"], [*slots, weight], numbers, strict=True):
        if graph.inputs[number].shape == shape and known.get(id(after)) != number:
            return name
    return ""


def _result(operation: tf.Operation, inputs: list[int | None]) -> int | None:
    """What the one result of an operation is known to be; None: nothing."""
    kind = operation.type
    if kind == "Const":
        value = tf.get_static_value(operation.outputs[0])
        return _ZERO if value is not None and not value.any() else None
    if kind in _KEEP or (kind in _OF_ZERO and inputs[0] == _ZERO):
        return inputs[0]
    if kind == "Mul" and _ZERO in inputs:  # The other factors are finite in a run that continues.
        return _ZERO
    if kind in _OVER and inputs[0] == _ZERO:
        return _ZERO
    if kind in ("Add", "AddV2") and _ZERO in inputs:
        return inputs[1] if inputs[0] == _ZERO else inputs[0]
    if kind == "Sub" and inputs[1] == _ZERO:
        return inputs[0]
    return None
