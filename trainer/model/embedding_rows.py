"""Which weights of a model are only read row by row, and which rows do given examples read?

`find` reads the operations of the model's call. A table is a weight of which nothing but rows are
gathered, as an embedding does, by indices that follow from an example's features alone. Such a row gets a
gradient of 0 in every step that does not read it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from strategies.runtime import Key
from strategies.weight_pieces import RowsRead
from trainer.model.step import TrainingProgram

# What may make indices of features: each number of the result follows from its own example alone.
_OF_EACH = frozenset(
    """
    AddV2 Cast EnsureShape Equal ExpandDims FloorDiv FloorMod Greater GreaterEqual Identity Less LessEqual
    LogicalAnd LogicalNot LogicalOr Maximum Minimum Mul NotEqual Reshape SelectV2 Squeeze StopGradient
    StridedSlice Sub
    """.split()
)
_SAME_ROWS = frozenset("Cast Identity StopGradient".split())


@dataclasses.dataclass(frozen=True)
class Found:
    """`tables`: by index, as `Program.tables`. `whole`: why the other weights with an index are not."""

    tables: dict[int, RowsRead]
    whole: dict[int, str]


def find(program: TrainingProgram, columns: Sequence[Any]) -> Found:
    """The tables of a program. `columns`: features and targets of some examples, as arrays [n, ...]."""
    graph, groups = _traced(program, columns)
    weights, _, features, _ = groups
    tables: dict[int, RowsRead] = {}
    whole: dict[int, str] = {}
    for index, weight in enumerate(weights):
        indices, other = _readers(graph, weight)
        if not indices:
            continue
        reason = f"a {other} reads it, too" if other else _why_not_known(indices, features)
        if reason:
            whole[index] = reason
        else:
            tables[index] = _reader(graph, indices, features)
    return Found(tables, whole)


def _traced(program: TrainingProgram, columns: Sequence[Any]) -> tuple[tf.Graph, list]:
    """The graph of the model's call in training, and its placeholders.

    Those of weights, layer state, columns and key.
    """
    weights, _, layer_state = tf.nest.map_structure(
        lambda array: tf.TensorSpec(array.shape, array.dtype), program.shapes()
    )
    specs = [tf.TensorSpec([None, *one.shape[1:]], tf.as_dtype(one.dtype)) for one in columns]
    number = tf.TensorSpec([], tf.int32)

    def call(weights, layer_state, columns, step, share):
        features, _ = program.unpack(tuple(columns))
        if program.feature_scale is not None:
            features = tf.cast(features, tf.float32) * program.feature_scale
        return program.forward.train(weights, list(layer_state), features, Key(step, share))

    traced = tf.function(call, autograph=False)
    graph = traced.get_concrete_function(weights, layer_state, specs, number, number).graph
    rest = iter(graph.inputs)
    groups = [[next(rest) for _ in one] for one in (weights, layer_state, specs, "sk")]
    return graph, groups


def _readers(graph: tf.Graph, weight: tf.Tensor) -> tuple[list[tf.Tensor], str]:
    """The indices by which rows of a weight are gathered, and what else reads it; "": nothing."""
    same, indices, other = {id(weight)}, [], ""
    for operation in graph.get_operations():
        inputs = [id(one) in same for one in operation.inputs]
        if not any(inputs) or operation.type == "Shape":
            continue
        if operation.type in _SAME_ROWS:
            same |= {id(one) for one in operation.outputs}
        elif _gathers_rows(operation) and inputs[:2] == [True, False]:
            indices.append(operation.inputs[1])
        else:
            other = other or operation.type
    return indices, other


def _gathers_rows(operation: tf.Operation) -> bool:
    if operation.type != "GatherV2" or operation.get_attr("batch_dims"):
        return False
    return tf.get_static_value(operation.inputs[2]) == 0


def _why_not_known(indices: list[tf.Tensor], features: list[tf.Tensor]) -> str:
    """Why the features do not say which rows these are; "" where they do."""
    own = {id(one) for one in features}
    for one in indices:
        found, other = _origin(one)
        if other:
            return f"its indices come from a {other}"
        if not found or not {id(placeholder) for placeholder in found} <= own:
            return "its indices do not follow from the features alone"
    return ""


def _origin(tensor: tf.Tensor) -> tuple[list[tf.Tensor], str]:
    """The placeholders that a tensor depends on, and an operation that may connect examples."""
    placeholders: list[tf.Tensor] = []
    todo, seen = [tensor], set()
    while todo:
        operation = todo.pop().op
        if operation.name in seen or operation.type in ("Const", "Shape"):
            continue
        seen.add(operation.name)
        if operation.type == "Placeholder":
            placeholders += operation.outputs
        elif operation.type in _OF_EACH and not _cuts_examples(operation):
            todo += operation.inputs
        elif not _is_shape(operation):
            return [], operation.type
    return placeholders, ""


def _cuts_examples(operation: tf.Operation) -> bool:
    """Whether it takes a part of the examples, which come first."""
    if operation.type != "StridedSlice":
        return False
    has_all = operation.get_attr("begin_mask") & operation.get_attr("end_mask") & 1
    step = tf.get_static_value(operation.inputs[3])
    return not has_all or step is None or step[0] != 1


def _is_shape(operation: tf.Operation) -> bool:
    """Whether its result is made of shapes and constants."""
    if operation.type in ("Const", "Shape"):
        return True
    inputs = [one.op for one in operation.inputs]
    return bool(inputs) and operation.type != "Placeholder" and all(map(_is_shape, inputs))


def _reader(graph: tf.Graph, indices: list[tf.Tensor], features: list[tf.Tensor]) -> RowsRead:
    """The part of a graph that makes indices of features, as a function."""
    part = tf.compat.v1.GraphDef(versions=graph.as_graph_def().versions)
    todo, names = [one.op for one in indices], set()
    while todo:
        operation = todo.pop()
        if operation.name not in names:
            names.add(operation.name)
            part.node.add().CopyFrom(operation.node_def)
            todo += [*(one.op for one in operation.inputs), *operation.control_inputs]
    places = {one.op.name: place for place, one in enumerate(features) if one.op.name in names}

    def read(columns: tuple) -> Any:
        given = {f"{name}:0": columns[place] for name, place in places.items()}
        found = tf.graph_util.import_graph_def(part, given, [one.name for one in indices])
        return tf.concat([tf.reshape(tf.cast(one, tf.int32), [-1]) for one in found], 0)

    return tf.function(read, autograph=False)
