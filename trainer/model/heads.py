"""Which loss and which metrics belong to which output of a model?

`heads` pairs a model's outputs with targets, losses, loss weights and metrics, by name or in their order,
as `keras.Model.compile` takes them. What is not given follows from the targets' type.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers import compile_utils

from trainer.config.fields import ConfigError
from trainer.process import report


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One output that has targets. `name` is "" where the model has only one output."""

    name: str
    output: str  # Its key among the outputs by name.
    target: str  # The key of its targets.
    loss: keras.losses.Loss
    weight: float
    metrics: list[keras.metrics.Metric]

    @property
    def prefix(self) -> str:
        return f"{self.name}_" if self.name else ""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a recipe asks for, as `keras.Model.compile` takes it; None: not given."""

    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None


def by_name(columns: Any, names: Sequence[str] = ("",)) -> dict[str, Any]:
    """Outputs or targets by name; what has none gets those of `names`."""
    if isinstance(columns, Mapping):
        return dict(columns)
    if isinstance(columns, list | tuple):
        return dict(zip(names, columns, strict=True))
    return {names[0]: columns}


def output_names(model: keras.Model, outputs: Any) -> list[str]:
    """The name of each output; "" where there is one."""
    if isinstance(outputs, Mapping):
        return list(outputs)
    if not isinstance(outputs, list | tuple):
        return [""]
    names = list(getattr(model, "output_names", None) or ())
    if len(names) != len(outputs) or len({*names}) != len(names):
        names = [f"output_{index + 1}" for index in range(len(outputs))]
    return names


def heads(model: keras.Model, outputs: Any, targets: Any, wanted: Wanted) -> list[Head]:
    """The heads of a model.

    Args:
      model: a Keras model.
      outputs, targets: those of a few examples, as tensors or arrays.
      wanted: what the recipe asks for.

    Raises ConfigError where outputs and targets do not match, or a loss or metric names neither.
    """
    names = output_names(model, outputs)
    outputs, targets = by_name(outputs, names), by_name(targets)
    losses = _spread(wanted.loss, names, "get_loss")
    weights = _spread(wanted.loss_weights, names, "loss_weights")
    metrics = _spread(wanted.metrics, names, "get_metrics")
    found = []
    for target, name in _pairs(list(targets), names):
        y_true, y_pred = targets[target], outputs[name]
        _check_numbers(target, y_true, y_pred)
        loss = losses.get(name)
        if wanted.loss is None:
            loss = _default_loss(model, name, y_true, y_pred)
        if loss is None:
            continue
        asked = _default_metrics(y_true) if wanted.metrics is None else metrics.get(name)
        found.append(
            Head(
                name if len(names) > 1 else "",
                name,
                target,
                compile_utils.get_loss(loss, y_true, y_pred),
                float(1.0 if weights.get(name) is None else weights[name]),
                [_own(metric, y_true, y_pred) for metric in _as_list(asked)],
            )
        )
    if not found:
        raise ConfigError(
            f"`get_loss` must give a loss for one of the targets {_listed(targets)}. Received: "
            f"{wanted.loss!r}; name an output that has targets."
        )
    return found


def _pairs(targets: list[str], names: list[str]) -> list[tuple[str, str]]:
    """(name of the targets, name of the output) of each output that has targets."""
    if len(targets) == len(names) == 1:
        return [(targets[0], names[0])]
    if names == [""]:
        raise ConfigError(
            "`get_data` must return one array of targets for a model with one output. Received: "
            f"{_listed(targets)}; leave out the others, or give the model an output for each."
        )
    if targets == [""]:
        named = ", ".join(f"{name!r}: ..." for name in names)
        raise ConfigError(
            f"`get_data` must return targets by name for a model with outputs {_listed(names)}. "
            f"Received: one array; return {{{named}}}."
        )
    if unknown := [name for name in targets if name not in names]:
        raise ConfigError(
            f"`get_data` must name targets as the model names its outputs, {_listed(names)}. Received: "
            f"{_listed(unknown)}; rename them, or the layers that make the outputs."
        )
    return [(name, name) for name in targets]


def _check_numbers(target: str, y_true: Any, y_pred: Any) -> None:
    """Raises ConfigError where targets are text, or an output is none that a loss can compare."""
    if y_true.dtype.kind in "SU":
        shown = f" {target!r}" if target else ""
        raise ConfigError(
            f"`get_data` must return numbers as targets{shown}. Received: text; return classes, e.g. by "
            "np.unique(targets, return_inverse=True)[1]."
        )
    if not tf.is_tensor(y_pred) or not y_pred.dtype.is_floating or not y_pred.shape.rank:
        shown = kind(y_pred) if tf.is_tensor(y_pred) else f"a {type(y_pred).__name__}"
        raise ConfigError(
            "`get_model` must return a model whose outputs are floating-point numbers for each example. "
            f"Received: {shown}; return the tensor before it is rounded or summed."
        )
    if len(y_pred) != len(y_true):
        raise ConfigError(
            "`get_model` must return a model with an output for each example. Received: "
            f"{len(y_pred)} outputs for {len(y_true)} examples; keep the first dimension as it is."
        )


def kind(values: Any) -> str:
    """Such as "float32 [n, 3]"."""
    shape = ", ".join(map(str, ("n", *values.shape[1:]))) if len(values.shape) else ""
    return f"{keras.backend.standardize_dtype(values.dtype)} [{shape}]"


def _own(metric: Any, y_true: Any, y_pred: Any) -> keras.metrics.Metric:
    """The metric that a recipe names or gives: a copy of its own, as several outputs may share it."""
    if isinstance(metric, keras.metrics.Metric):
        try:
            return type(metric).from_config(metric.get_config())
        except (TypeError, NotImplementedError):
            return metric  # A class of the recipe's, which does not say how to copy it.
    return compile_utils.get_metric(metric, y_true, y_pred)


def _spread(given: Any, names: list[str], what: str) -> dict[str, Any]:
    """What was given, by output: by name, one for each in their order, or the same for all."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        if len(given) == len(names) == 1:
            return {names[0]: next(iter(given.values()))}
        if unknown := [name for name in given if name not in names]:
            raise ConfigError(
                f"`{what}` must name outputs of the model, {_listed(names)}. Received: "
                f"{_listed(unknown)}; use those names."
            )
        return dict(given)
    if isinstance(given, list | tuple) and len(names) > 1 and len(given) == len(names):
        return dict(zip(names, given, strict=True))
    if isinstance(given, list | tuple) and what != "get_metrics":
        if len(given) != 1:
            raise ConfigError(
                f"`{what}` must have one entry for each output of the model, {_listed(names)}. Received: "
                f"{len(given)}; name them as {{output: ...}}."
            )
        given = given[0]
    return dict.fromkeys(names, given)


def _as_list(given: Any) -> list:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def _is_integer(values: Any) -> bool:
    return values.dtype.kind in "biu"


def _default_loss(model: keras.Model, name: str, y_true: Any, y_pred: Any) -> keras.losses.Loss:
    """The loss that fits the targets: whole numbers are classes, others are values."""
    shown = f" of output {name}" if name else ""
    if not _is_integer(y_true):
        report.common("loss%s: mean squared error, as its targets are not whole numbers", shown)
        return keras.losses.MeanSquaredError()
    if y_true.ndim >= len(y_pred.shape) and y_true.shape[-1] != 1:
        raise ConfigError(
            f"`get_loss` must say how targets{shown} are compared with the model's outputs. Received: "
            f"none for targets {kind(y_true)} and outputs {kind(y_pred)}; return a loss, e.g. "
            "'categorical_crossentropy' for one-hot classes, or targets np.argmax(targets, -1)."
        )
    activation = _last_activation(model, y_pred, name)
    is_binary = y_pred.shape[-1] == 1
    squashes = keras.activations.sigmoid if is_binary else keras.activations.softmax
    name_of = "binary" if is_binary else "sparse categorical"
    from_logits = activation is not squashes
    how = f"logits, as it does not end in {squashes.__name__}" if from_logits else "probabilities"
    report.common(
        "loss%s: %s cross-entropy of %s; its targets are whole numbers", shown, name_of, how
    )
    if is_binary:
        return keras.losses.BinaryCrossentropy(from_logits=from_logits)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def _last_activation(model: keras.Model, output: Any, name: str) -> Callable | None:
    """The activation of the layer that makes an output, where the model is a graph of layers."""
    try:
        symbolic = by_name(model.outputs, output_names(model, list(model.outputs)))
        tensor = symbolic.get(name, model.outputs[0])
        operation = tensor._keras_history.operation
    except (AttributeError, TypeError, ValueError):
        return None
    if isinstance(operation, keras.layers.Softmax):
        return keras.activations.softmax
    return getattr(operation, "activation", None)


def _default_metrics(y_true: Any) -> list[str]:
    return ["accuracy"] if _is_integer(y_true) else ["mean_absolute_error"]


def _listed(names: Any) -> str:
    return ", ".join(repr(name or "the only one") for name in names)
