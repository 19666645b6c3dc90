"""Which dense layers of a model are cut as pairs, the first by columns and the second by rows?

Two are a pair if

- both are in the same Sequential or functional model, and each is called once in it;
- the first one's output goes to the second alone, directly or through activations and dropout;
- the number of blocks divides the units of the first;
- both have nothing but plain weights that train: no regularizer, no constraint, no LoRA, no quantization.

Pairs are found in the order of the layers, those that `model.sharding` names first; a layer is in one
pair only.
"""

from collections.abc import Iterator, Mapping

import keras

from trainer.model import graphs
from trainer.model.dense_blocks import Pair, is_dropout
from trainer.model.model_blocks import not_plain

COLUMN, ROW = "column", "row"
_ELEMENTWISE = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
)
_OVER_UNITS = ("softmax", "log_softmax", "glu", "sparsemax")  # These activations read all units.


def pairs(
    model: keras.Model, number: int, wanted: Mapping[str, str]
) -> tuple[list[Pair], dict[int, str]]:
    """The pairs, and of each other dense layer, by its id, why it is in none."""
    reasons = {
        id(layer): _unfit(layer) or "it is not in a Sequential or functional model"
        for layer in dense(model)
    }
    candidates = []
    for graph in graphs.of(model):
        for first, between, second, alone in _chains(graph):
            reason = alone or _unfit_column(first, number)
            if second is not None and not reason:
                unfit = _unfit(second)
                reason = f"of {second.name}: {unfit}" if unfit else _unwanted(first, second, wanted)
                if not reason:
                    candidates.append(Pair(first, between, second))
            reasons[id(first)] = _unfit(first) or reason
    named = [one for one in candidates if {one.column.name, one.row.name} & {*wanted}]
    found: list[Pair] = []
    for one in [*named, *candidates]:
        taken = {id(layer) for pair in found for layer in (pair.column, pair.row)}
        if not {id(one.column), id(one.row)} & taken:
            found.append(one)
    for one in candidates:
        for layer in (one.column, one.row):
            if not reasons[id(layer)]:
                reasons[id(layer)] = "the layer before or after it is in another pair"
    return found, reasons


def dense(model: keras.Model) -> list[keras.layers.Dense]:
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, keras.layers.Dense)]


def _unwanted(first: keras.layers.Layer, second: keras.layers.Layer, wanted: Mapping) -> str:
    for layer, kind in ((first, COLUMN), (second, ROW)):
        if wanted.get(layer.name, kind) != kind:
            return f"`model.sharding` has {layer.name}={wanted[layer.name]}"
    return ""


def _unfit(layer: keras.layers.Dense) -> str:
    """Why it cannot be cut, whatever is around it."""
    if type(layer) is not keras.layers.Dense:
        return f"a {type(layer).__name__} may compute something of its own"
    regularizers = layer.kernel_regularizer, layer.bias_regularizer, layer.activity_regularizer
    constraints = layer.kernel_constraint, layer.bias_constraint
    return not_plain(layer, regularizers, constraints, [layer], "_kernel")


def _unfit_column(layer: keras.layers.Dense, number: int) -> str:
    if unfit := _unfit(layer):
        return unfit
    if (name := getattr(layer.activation, "__name__", "")) in _OVER_UNITS:
        return f"its activation, {name}, reads all units at once"
    return f"{number} blocks do not divide its {layer.units} units" if layer.units % number else ""


def _chains(graph) -> Iterator[tuple]:
    """(dense layer, layers after it, the dense layer after those or None, why there is none)."""
    nodes = graphs.nodes(graph)
    calls: dict[int, int] = {}
    after: dict[int, list] = {}
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
        for parent in node.parent_nodes:
            after.setdefault(id(parent), []).append(node)
    answers = {id(tensor._keras_history.operation) for tensor in graph.outputs}
    for node in nodes:
        if isinstance(node.operation, keras.layers.Dense):
            yield from _chain(node, calls, after, answers)


def _chain(node, calls: dict, after: dict, answers: set) -> Iterator[tuple]:
    first: keras.layers.Dense = node.operation
    between: list[keras.layers.Layer] = []
    while True:
        here = node.operation
        if calls[id(here)] > 1:
            why = f"{here.name} is called more than once"
        elif id(here) in answers:
            why = "its output is the model's"
        elif len(after.get(id(node), ())) != 1:
            why = f"the output of {here.name} goes to several layers"
        elif len(after[id(node)][0].parent_nodes) != 1:
            why = f"{after[id(node)][0].operation.name} has several inputs"
        else:
            (node,) = after[id(node)]
            found = node.operation
            if isinstance(found, keras.layers.Dense) and calls[id(found)] == 1:
                yield first, tuple(between), found, ""
                return
            if _is_elementwise(found):
                between.append(found)
                continue
            why = f"its output goes to {found.name}, which is no dense layer"
        yield first, (), None, why
        return


def _is_elementwise(layer: keras.layers.Layer) -> bool:
    if is_dropout(layer):
        return layer.noise_shape is None
    if isinstance(layer, keras.layers.Activation):
        name = getattr(layer.activation, "__name__", "")
        return type(layer) is keras.layers.Activation and name not in _OVER_UNITS
    return type(layer) in _ELEMENTWISE
