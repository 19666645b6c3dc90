"""What do TensorFlow's TPU kernels lower a replica's program to?

To HLO, the input of the TPU's compiler, including its collectives: `lower` returns it. This needs the
package tensorflow-tpu, but no TPU.

A traced program refers to its variables by handles, which only a TPU's host can resolve. So it is built
again with values in their place: each variable is an input, and its last value an output.
"""

import dataclasses
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import handle_data_util

from strategies.tpu.trace import Traced, is_host_op

_ASSIGNED = {
    "AssignVariableOp": lambda old, given: given,
    "AssignAddVariableOp": lambda old, given: old + given,
    "AssignSubVariableOp": lambda old, given: old - given,
}


@dataclasses.dataclass(frozen=True)
class Lowered:
    """The HLO of one replica.

    Its inputs are `data`, then `variables`; its outputs are `num_outputs` results, then `assigned`.
    `data`: specs of the replica's number, which TPUStrategy adds, and of the arguments in their order.
    `variables`: the handles that the traced function captured. `assigned`: those of them that the
    program assigns to.
    """

    hlo: bytes
    data: list[tf.TensorSpec]
    variables: list[Any]
    num_outputs: int
    assigned: list[Any]


def lower(traced: Traced) -> Lowered:
    """The HLO of a traced replica. Raises TensorFlow's error where a kernel cannot be lowered."""
    data = [op for op in traced.inputs if op.outputs[0].dtype != tf.resource]
    handles = [op for op in traced.inputs if op.outputs[0].dtype == tf.resource]

    def program(*values):
        replay = _Replay(traced, data, handles, values)
        assigned.extend(replay.assigned)
        return [*replay.outputs(), *replay.assigned.values()]

    assigned: list[str] = []
    sent = [tf.TensorSpec(op.outputs[0].shape, op.outputs[0].dtype) for op in data]
    held = [_spec(op.inputs[0]) for op in handles]
    compiled = tf.function(program, autograph=False, jit_compile=True)
    ir = compiled.experimental_get_compiler_ir(*sent, *held)
    hlo = ir(stage="hlo_serialized", platform_name="TPU")
    captured = {inner.ref(): outer for outer, inner in traced.graph.captures}
    variables = {_name(op): captured[op.inputs[0].ref()] for op in handles}
    last = [variables[name] for name in assigned]
    return Lowered(hlo, sent, [*variables.values()], len(traced.outputs), last)


def _spec(handle) -> tf.TensorSpec:
    held = handle_data_util.get_resource_handle_data(handle).shape_and_type[0]
    return tf.TensorSpec(tf.TensorShape(held.shape), tf.as_dtype(held.dtype))


class _Replay:
    """The program built again in the default graph. Tensors are found by their original names."""

    def __init__(self, traced: Traced, data: list, handles: list, values: tuple):
        self._traced = traced
        self._tensors = dict(zip(map(_name, data), values[: len(data)], strict=True))
        self._variables = dict(zip(map(_name, handles), values[len(data) :], strict=True))
        self._handles = {name: name for name in self._variables}  # The variable of each alias.
        self.assigned: dict[str, tf.Tensor] = {}  # The last value of each assigned variable.
        self._graph = ops.get_default_graph()
        for name in traced.graph._functions:
            self._graph._add_function_recursive(traced.graph._get_function(name))
        for operation in traced.operations:
            if not is_host_op(operation):
                self._replay(operation)

    def outputs(self) -> list:
        return [self._tensors[op.inputs[0].name] for op in self._traced.outputs]

    def _replay(self, operation) -> None:
        if not any(tensor.dtype == tf.resource for tensor in operation.inputs):
            self._copy(operation)
            return
        handle = self._handles[operation.inputs[0].name]
        if operation.type == "Identity":
            self._handles[_name(operation)] = handle
        elif operation.type == "ReadVariableOp":
            self._tensors[_name(operation)] = self._value(handle)
        else:
            given = self._tensors[operation.inputs[1].name]
            self.assigned[handle] = _ASSIGNED[operation.type](self._value(handle), given)

    def _value(self, handle: str):
        return self.assigned.get(handle, self._variables[handle])

    def _copy(self, operation) -> None:
        attributes = operation.node_def.attr.items()
        copy = self._graph._create_op_internal(
            operation.type,
            [self._tensors[tensor.name] for tensor in operation.inputs],
            [tensor.dtype for tensor in operation.outputs],
            name=operation.name,
            attrs={name: value for name, value in attributes if not name.startswith("_")},
            op_def=operation.op_def,
        )
        for old, new in zip(operation.outputs, copy.outputs, strict=True):
            self._tensors[old.name] = new


def _name(operation) -> str:
    return operation.outputs[0].name
