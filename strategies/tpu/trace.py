"""Which program would a TPU run?

`Traced` holds the operations of one replica's program. A real TPUStrategy over cores that do not exist
(`trace_only_strategy`) can trace it, though not run it: only the resolver is asked for the cores. Their
variables are created on the CPU.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.client import session
from tensorflow.python.ops import resource_variable_ops
from tensorflow.python.tpu import tpu_system_metadata

# Operations that tell the host how to call the replicas' program, and are not part of it.
_HOST_OPS = {
    "NoOp",
    "Placeholder",
    "TPUCompilationResult",
    "TPUReplicateMetadata",
    "TPUReplicatedInput",
    "TPUReplicatedOutput",
}
_CALLS = {
    "PartitionedCall",
    "StatefulPartitionedCall",
}  # Their functions' operations count instead.


def trace_only_strategy(num_cores: int) -> tf.distribute.TPUStrategy:
    """A TPUStrategy over `num_cores` cores of one host, none of which exists."""
    return tf.distribute.TPUStrategy(_Resolver(num_cores))


class _Resolver(tf.distribute.cluster_resolver.TPUClusterResolver):
    def __init__(self, num_cores: int):
        super().__init__(tpu="local")
        self._num_cores = num_cores

    def num_accelerators(self, *unused: Any, **also_unused: Any) -> dict[str, int]:
        return {"TPU": self._num_cores}

    def get_tpu_system_metadata(self):
        cores = [_device("TPU", index) for index in range(self._num_cores)]
        return tpu_system_metadata.TPUSystemMetadata(
            num_cores=self._num_cores,
            num_hosts=1,
            num_of_cores_per_host=self._num_cores,
            topology=None,
            devices=[_device("CPU", 0), *cores],
        )


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Variables created in this context have a shape and no value, so that they use no memory.

    A program is traced from shapes alone. With values, a large model would need more memory here than on
    a TPU: a copy for every core.
    """
    with tf.variable_creator_scope(_valueless):
        yield


def _valueless(next_creator: Any, **settings: Any):
    del next_creator  # It would create a value.
    value = settings.pop("initial_value")
    with tf.Graph().as_default():  # A graph computes nothing.
        value = value() if callable(value) else value
    settings["shape"] = value.shape
    settings["dtype"] = settings.get("dtype") or value.dtype
    return resource_variable_ops.UninitializedVariable(**settings)


def _device(kind: str, index: int):
    name = f"/job:localhost/replica:0/task:0/device:{kind}:{index}"
    return session._DeviceAttributes(name, kind, 0, 0)


class Traced:
    """One replica's program in a traced function that calls `strategy.run` once."""

    def __init__(self, concrete):
        self.graph = concrete.graph
        operations = self.graph.get_operations()
        # In the order of their creation, which is the program's.
        self.operations = [op for op in operations if "_tpu_replicate" in op.node_def.attr]
        self.inputs = [op for op in operations if op.type == "TPUReplicatedInput"]
        self.outputs = [op for op in operations if op.type == "TPUReplicatedOutput"]
        assert any(op.type == "TPUReplicateMetadata" for op in self.operations)

    def walk(self) -> Iterator[tf.Operation]:
        """Every operation of the program, including those of the functions it calls."""
        yield from (op for op in _with_callees(self.operations, set()) if op.type not in _CALLS)

    def counts(self) -> Counter:
        """How many operations of each type are in the program."""
        return Counter(op.type for op in self.walk())

    def open_shapes(self) -> list[str]:
        """The tensors whose shape is unknown before the program runs: a TPU cannot compile them."""
        return [
            f"{tensor.name} {tensor.shape}"
            for op in self.walk()
            for tensor in op.outputs
            if tensor.dtype != tf.resource and not tensor.shape.is_fully_defined()
        ]


def is_host_op(operation: tf.Operation) -> bool:
    """Whether it only tells the host how to call the program."""
    return operation.type in _HOST_OPS


def _with_callees(operations: list, seen: set[str]) -> Iterator[tf.Operation]:
    for operation in operations:
        if not is_host_op(operation):
            yield operation
        for name in _callees(operation):
            if name not in seen:
                seen.add(name)
                body = operation.graph._get_function(name).graph
                yield from _with_callees(body.get_operations(), seen)


def _callees(operation: tf.Operation) -> list[str]:
    values = operation.node_def.attr.values()
    functions = [function for value in values for function in (value.func, *value.list.func)]
    return [function.name for function in functions if function.name]
