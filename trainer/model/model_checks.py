"""Why can a recipe's own model not be trained? Each check raises ConfigError with the reason."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from strategies.runtime import Key
from trainer.config import user_code
from trainer.config.fields import ConfigError
from trainer.config.recipes import Recipe
from trainer.data.dataset import Dataset, Split
from trainer.model import bias_gradients, heads
from trainer.model.step import TrainingProgram

_OWN_STEP = ("train_step", "compute_loss", "compute_metrics")
# Operations that draw numbers which no seed of the model decides.
_STATEFUL_DRAWS = ("Random", "Truncated", "Multinomial", "ParameterizedTruncated", "StatefulRandom")


def check_own_step(recipe: Recipe, model: keras.Model) -> None:
    """Raises ConfigError where the model's class replaces a part of Keras's step."""
    for method in _OWN_STEP:
        if getattr(type(model), method) is not getattr(keras.Model, method):
            raise ConfigError(
                f"`get_model` of {recipe.path} must return a model that Keras's own step trains. "
                f"Received: {type(model).__name__}, which has its own `{method}`; write it as a loss, a "
                "metric or `add_loss`."
            )


def check_trainable(model: keras.Model) -> None:
    """Raises ConfigError where the model has nothing to train, or what cannot be trained here."""
    if not model.trainable_variables:
        raise ConfigError(
            "`get_model` must return a model with weights to train. Received: "
            f"{model.name!r} without any; add layers, or leave some unfrozen."
        )
    for variable in model.trainable_variables:
        if variable.dtype != "float32":
            raise ConfigError(
                "`get_model` must return a model whose weights are float32. Received: "
                f"{variable.dtype} for {variable.path!r}; leave out `dtype`, or use mixed_bfloat16 or "
                "mixed_float16."
            )
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ConfigError(
                "`get_model` must return a model whose examples do not depend on each other. Received: "
                f"{layer.name!r} with stateful=True; leave that out."
            )


def check_labels(found: list[heads.Head], outputs: Any, names: list[str], dataset: Dataset) -> None:
    """Raises ConfigError where a class is none of those that the model can name."""
    outputs = heads.by_name(outputs, names)
    for head in found:
        for name, split in dataset.splits.items():
            labels = heads.by_name(split.targets)[head.target]
            classes = _num_classes(head.loss, outputs[head.output], labels)
            low, high = np.min(labels), np.max(labels)
            if classes and not (low >= 0 and high < classes):  # NaN is neither.
                raise ConfigError(
                    f"`get_data` must return classes from 0 to {classes - 1}, as the loss is "
                    f"{head.loss.name} and the model has {outputs[head.output].shape[-1]} outputs. "
                    f"Received: {low} to {high} for {name!r}; correct the labels or the model."
                )


def _num_classes(loss: keras.losses.Loss, output: Any, labels: np.ndarray) -> int:
    """The number of classes that a loss knows; 0 where its targets need not be classes."""
    function = getattr(loss, "fn", None)
    if function is keras.losses.sparse_categorical_crossentropy:
        return output.shape[-1] if getattr(loss, "ignore_class", None) is None else 0
    is_binary = function is keras.losses.binary_crossentropy and labels.dtype.kind != "f"
    return 2 if is_binary else 0


def check_indices(model: keras.Model, dataset: Dataset) -> None:
    """Raises ConfigError where the data has an index that is none of the embedding that reads it."""
    for layer, name in embeddings(model):
        for split_name, split in dataset.splits.items():
            columns = heads.by_name(split.features)
            if name is None or not (name in columns or len(columns) == 1):
                continue
            column = columns.get(name, next(iter(columns.values())))
            low, high = np.min(column), np.max(column)
            if not (low >= 0 and high < layer.input_dim):
                raise ConfigError(
                    f"`get_data` must return indices from 0 to {layer.input_dim - 1} for the embedding "
                    f"{layer.name!r}. Received: {low} to {high} for {split_name!r}; correct them, or "
                    "raise its input_dim."
                )


def embeddings(model: keras.Model) -> list[tuple[keras.layers.Embedding, str | None]]:
    """Each embedding with the name of the model's input that it reads; None where it reads another."""
    inputs = {id(tensor): tensor.name for tensor in getattr(model, "inputs", None) or ()}
    found = []
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Embedding):
            read = [id(one) for node in layer._inbound_nodes for one in node.input_tensors]
            names = {inputs.get(one) for one in read} or {None}
            found += [(layer, name) for name in names]
    return found


def check_names(found: list[heads.Head]) -> None:
    """Raises ConfigError where two numbers would be reported by one name."""
    for head in found:
        names = ["loss", *(metric.name for metric in head.metrics)]
        if len({*names}) < len(names):
            raise ConfigError(
                "`get_metrics` must give metrics with names of their own, none of which is loss. "
                f"Received: {', '.join(names[1:])}; pass e.g. name='other'."
            )


def check_step(recipe: Recipe, program: TrainingProgram, sample: Split) -> set[str]:
    """Traces a step, and returns the kinds of its operations.

    Raises ConfigError where its result would depend on more than its arguments.
    """
    with user_code.reported(recipe.path):
        state, batch, key = step_specs(program, sample)

    def whole(state, batch, key):
        weights, slots, layer_state = state
        terms, sums = program.as_one_block(weights, batch, layer_state, key)
        return program.update(weights, slots, program.mean(terms, sums[-1]))

    with user_code.reported(recipe.path):
        graph = tf.function(whole, autograph=False).get_concrete_function(state, batch, key).graph
    if graph.variables:
        names = ", ".join(variable.name for variable in graph.variables)
        raise ConfigError(
            "`get_model` must return a model that owns every variable it uses. Received: one that also "
            f"uses {names}; make them attributes of a layer, and give random operations a "
            "keras.random.SeedGenerator."
        )
    written = graph.as_graph_def()
    nodes = [written.node, *(function.node_def for function in _called_functions(written))]
    for part in nodes:
        bias_gradients.check(part)
    kinds = {node.op for part in nodes for node in part} - {"RandomIndexShuffle"}
    if drawn := sorted(kind for kind in kinds if kind.startswith(_STATEFUL_DRAWS)):
        raise ConfigError(
            "`get_model` must return a model that draws random numbers from seeds of its own. Received: "
            f"one with {', '.join(drawn)}; use keras.random with a keras.random.SeedGenerator."
        )
    return kinds


def step_specs(program: TrainingProgram, sample: Split) -> tuple[tuple, tuple, Key]:
    """The types and shapes of the state, of these examples as a batch with weights, and of a key."""
    state = tf.nest.map_structure(
        lambda array: tf.TensorSpec(array.shape, array.dtype), program.shapes()
    )
    arrays = [tf.constant(array) for array in sample.arrays]
    batch = [tf.TensorSpec([len(sample), *array.shape[1:]], array.dtype) for array in arrays]
    key = Key(tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32))
    return state, (*batch, tf.TensorSpec([len(sample)], tf.float32)), key


def _called_functions(graph_def) -> list:
    """The functions that the nodes of a GraphDef call."""
    fields = {field.name: value for field, value in graph_def.ListFields()}
    return list(fields["library"].function) if "library" in fields else []
