"""Which calls of layers are in a model's functional graphs?

`calls` has them by layer. A call within the code of a layer is in none of them.
"""

import keras
from keras.src.models.functional import Functional


def of(model: keras.Model) -> list[Functional]:
    """The functional models in it; a Sequential has one."""
    found = {}
    for one in model._flatten_layers(include_self=True):
        graph = getattr(one, "_functional", None) or one
        if isinstance(graph, Functional):
            found[id(graph)] = graph
    return [*found.values()]


def nodes(graph: Functional) -> list:
    """Its calls of layers, from the inputs to the outputs."""
    depths = sorted(graph._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in graph._nodes_by_depth[depth]]


def calls(model: keras.Model) -> dict[int, list]:
    """The calls of each layer that is in any of them, by the layer's id."""
    found: dict[int, list] = {}
    for graph in of(model):
        for node in nodes(graph):
            found.setdefault(id(node.operation), []).append(node)
    return found
