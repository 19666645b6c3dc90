"""Which model does a recipe bring, and what is computed with it?

`build` calls the recipe's `get_model`, `get_loss`, `get_metrics` and `get_optimizer`, checks what they
return, and traces a step once. What cannot be trained is refused before the first step.

A CPU runs such a model as a graph, in which one thread computes each operation and the blocks of a batch
are computed in parallel, each compiled by XLA where that pays (`block_compiler.py`). So its bits depend
neither on the number of threads nor on the strategy.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from trainer.config import user_code
from trainer.config.fields import ConfigError
from trainer.config.recipes import Recipe
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.model import (
    batch_statistics,
    block_compiler,
    forward,
    frozen_layers,
    heads,
    keras_objective,
    loss_scale,
    model_checks,
    optimizers,
    private_gradients,
    sharding,
    user_optimizer,
)
from trainer.model.keras_objective import KerasObjective
from trainer.model.step import TrainingProgram
from trainer.process import report

_SAMPLE = 4  # Examples that a model is tried on.


@dataclasses.dataclass(frozen=True, eq=False)
class UserModel:
    """A recipe's model with its loss, metrics and optimizer. `architecture`: what it is made of."""

    program: TrainingProgram
    architecture: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """sha256 of the architecture."""
        return hashlib.sha256(json.dumps(self.architecture, sort_keys=True).encode()).hexdigest()


def build(
    recipe: Recipe,
    config: ExperimentConfig,
    dataset: Dataset,
    block_size: int = 0,
    device_type: str = "CPU",
    total_steps: int = 0,
) -> UserModel:
    """The program of a recipe's model.

    Args:
      recipe: defines `get_model`, and perhaps the other functions.
      config: passed to them; its optimizer serves where neither recipe nor model has one.
      dataset: passed to `get_model` as {"train": (features, targets), "test": ...}.
      block_size: see `TrainingProgram`.
      device_type: TensorFlow's name for the kind of the devices. A TPU's shapes are fixed.
      total_steps: of the run, for the config's optimizer.

    Raises:
      RecipeError: the recipe's own code failed.
      ConfigError: the model cannot be trained here; the message says why.
    """
    block_compiler.keep_blocks_apart()
    keras.utils.clear_session()  # Names and seeds follow from the recipe, not from earlier models.
    keras.utils.set_random_seed(config.train.seed)
    model = _model(recipe, config, dataset)
    sample, scale = dataset.train.first(_SAMPLE), dataset.feature_scale
    features = _features(sample.features, scale)
    with user_code.reported(recipe.path):
        outputs = model(features, training=False)
    frozen_layers.freeze(model, config.model.frozen)
    model_checks.check_trainable(model)
    names = heads.output_names(model, outputs)
    wanted = _wanted(recipe, config, model)
    with user_code.reported(recipe.path):
        found = heads.heads(model, outputs, sample.targets, wanted)
    model_checks.check_names(found)
    model_checks.check_labels(found, outputs, names, dataset)
    model_checks.check_indices(model, dataset)
    objective = _objective(recipe, found, names, sample.targets, outputs, device_type)
    optimizer = _optimizer(recipe, config, model)
    scale_of_loss = loss_scale.of(model, optimizer, config.data.global_batch_size)
    optimizer = optimizer and user_optimizer.without_loss_scale(optimizer)
    clipnorm = optimizer.global_clipnorm if optimizer else config.optimizer.global_clipnorm
    with user_code.reported(recipe.path):
        each = _optimizers(model, optimizer, config, total_steps)
    private = private_gradients.of(config)
    if private:
        private_gradients.check(model, features)
    program = TrainingProgram(
        model,
        objective,
        each,
        feature_scale=scale,
        global_clipnorm=clipnorm or 0.0,
        block_size=block_size,
        sequential=config.train.sequential_blocks,
        uses_xla=False,
        trims_padding=device_type != "TPU",
        unpack=dataset.train.unpack,
        loss_scale=scale_of_loss,
        shares_statistics=_shares_statistics(config, model),
        private=private,
        blocks=sharding.cut(model, config.model),
    )
    operations = model_checks.check_step(recipe, program, sample)
    compiled = "as a graph"
    if device_type == "CPU":
        compiled = block_compiler.choose(program, operations, config.train.compiler, sample)
    report.common(
        "model | %s of %s: %d weights to train; computed %s; with one thread for each operation, so that "
        "the number of threads changes no bit",
        model.name,
        recipe.path,
        sum(weight.size for weight in program.initial_weights()),
        compiled,
    )
    parts = _architecture(program, found, optimizer) | {"compiled": compiled}
    if scale_of_loss:
        parts["loss_scale"] = scale_of_loss.settings
    return UserModel(program, parts)


def _model(recipe: Recipe, config: ExperimentConfig, dataset: Dataset) -> keras.Model:
    data = {name: (split.features, split.targets) for name, split in dataset.splits.items()}
    model = recipe.call("get_model", config, data)
    if not isinstance(model, keras.Model):
        raise ConfigError(
            f"`get_model` of {recipe.path} must return a keras.Model. Received: "
            f"a {type(model).__name__}; return the model."
        )
    model_checks.check_own_step(recipe, model)
    return model


def _shares_statistics(config: ExperimentConfig, model: keras.Model) -> bool:
    if config.model.batch_norm == "global":
        return batch_statistics.share(model)
    batch_statistics.check_blocks(model)
    return False


def _features(columns: Any, scale: float | None) -> Any:
    if scale is None:
        return columns
    return np.asarray(columns, np.float32) * np.float32(scale)


def _wanted(recipe: Recipe, config: ExperimentConfig, model: keras.Model) -> heads.Wanted:
    """What the recipe's functions ask for, else the compiled model."""
    compiled = model._compile_config.config if model.compiled else {}
    asked = {
        name: recipe.call(f"get_{name}", config)
        if recipe.defines(f"get_{name}")
        else compiled.get(name)
        for name in ("loss", "metrics")
    }
    if "metrics" in compiled and compiled.get("weighted_metrics") and not asked["metrics"]:
        asked["metrics"] = compiled["weighted_metrics"]
    if model.compiled and asked["loss"] is not None and asked["metrics"] is None:
        asked["metrics"] = []
    return heads.Wanted(asked["loss"], compiled.get("loss_weights"), asked["metrics"])


def _objective(
    recipe: Recipe,
    found: list[heads.Head],
    names: list[str],
    targets: Any,
    outputs: Any,
    device_type: str,
) -> KerasObjective:
    pairs = keras_objective.pairs(found, names, targets, outputs)
    for head, (y_true, y_pred) in zip(found, pairs, strict=True):
        of = f"of targets {heads.kind(y_true)} and outputs {heads.kind(y_pred)}"
        with user_code.reported(recipe.path, f"loss {head.loss.name} {of}"):
            keras_objective.check_loss(head, y_true, y_pred)
        for metric in head.metrics:
            with user_code.reported(recipe.path, f"metric {metric.name} {of}"):
                keras_objective.check_metric(metric, y_true, y_pred)
    return KerasObjective(found, names, weights_metrics=device_type == "TPU")


def _optimizer(
    recipe: Recipe, config: ExperimentConfig, model: keras.Model
) -> keras.optimizers.Optimizer | None:
    """The recipe's optimizer, else the compiled model's; None where the config describes it."""
    if recipe.defines("get_optimizer"):
        optimizer = recipe.call("get_optimizer", config)
    elif model.compiled:
        optimizer = model.optimizer
    else:
        return None
    user_optimizer.check(optimizer, config.optimizer.ema_momentum)
    return optimizer


def _optimizers(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None,
    config: ExperimentConfig,
    total_steps: int,
) -> optimizers.Optimizers:
    names = forward.variable_names(model, model.trainable_variables)
    make: Callable = functools.partial(optimizers.make_optimizer, config.optimizer, total_steps)
    if optimizer:
        make = user_optimizer.for_each_weight(optimizer, config.optimizer.ema_momentum)
    return optimizers.Optimizers(model.trainable_variables, names, make, shares=False)


def _architecture(
    program: TrainingProgram, found: list[heads.Head], optimizer: keras.optimizers.Optimizer | None
) -> dict[str, Any]:
    """Layers, weights, losses, metrics and optimizer, as JSON."""
    model, state_names = program.model, program.forward.state_names
    layers = {}
    for layer in model._flatten_layers(include_self=False):
        settings: dict[str, Any] = {"class": type(layer).__name__}
        if not isinstance(layer, keras.Model):
            # Layers of a recipe's own may not say what they were made with.
            with contextlib.suppress(Exception):
                settings |= layer.get_config()
        layers[layer.path] = settings
    parts = {
        "layers": layers,
        "weights": dict(
            zip(program.weight_names, map(_kind, model.trainable_variables), strict=True)
        ),
        "state": dict(zip(state_names, map(_kind, program.forward.variables), strict=True)),
        "losses": {head.name or "loss": f"{head.weight:g} * {head.loss.name}" for head in found},
        "metrics": {head.name or "metrics": [one.name for one in head.metrics] for head in found},
        "optimizer": user_optimizer.settings_of(optimizer) if optimizer else None,
    }
    return _plain(parts)


def _plain(value: Any) -> Any:
    """The value as JSON: what has no place in it by its class, and an array by its digest."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype} {list(value.shape)} {digest}"
    return value if isinstance(value, str | int | float | None) else type(value).__name__


def _kind(variable: keras.Variable) -> str:
    return f"{variable.dtype} {list(variable.shape)}"
