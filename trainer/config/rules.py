"""Which rules hold between the fields of a config?

`validate` checks each field alone, and then one rule after the other.
"""

import itertools
import math
import re
from collections.abc import Callable

from trainer.config import balance_rules, combinations, partition_rules
from trainer.config import fields as fields_lib
from trainer.config.data_schema import CLASSIFICATION_DATASETS
from trainer.config.fields import ConfigError
from trainer.config.optimizer_schema import OF_RUN_LENGTH, OptimizerConfig
from trainer.config.schema import ExperimentConfig, flatten

_MAX_LAYERS = 100  # A deeper net without skip connections does not train.


def validate(config: ExperimentConfig) -> None:
    """Raises ConfigError, one line with a fix, for the first rule that the config breaks."""
    fields_lib.build(ExperimentConfig, flatten(config))
    for check in _RULES:
        check(config)


def _check_name(config: ExperimentConfig) -> None:
    if not re.fullmatch(r"(\w[\w .+=-]{0,99})?", config.name, re.ASCII):
        raise ConfigError(
            "`name` must be usable as a file name: letters, digits, `_`, `-` and `.`. Received: "
            f"{fields_lib.short_json(config.name)}; set another with --config.name=NAME."
        )


def _check_recipe(config: ExperimentConfig) -> None:
    if config.recipe and not config.recipe.endswith(".py"):
        raise ConfigError(
            "`recipe` must be the path of a Python file. Received: "
            f"{fields_lib.short_json(config.recipe)}; set another with --config.recipe=FILE.py."
        )


def check_kind(config: ExperimentConfig, is_classification: bool, name: str) -> None:
    """Raises ConfigError where an option of a built-in net does not fit the kind of the data `name`."""
    activation, smoothing = config.model.output_activation, config.train.label_smoothing
    if activation and is_classification:
        raise ConfigError(
            "`model.output_activation` must be empty for a classification, whose loss applies the "
            f"softmax itself. Received: {fields_lib.short_json(activation)} for {name}; leave it out."
        )
    if smoothing and not is_classification:
        raise ConfigError(
            f"`train.label_smoothing` must be 0 for a regression. Received: {smoothing} for {name}; "
            "leave it out."
        )
    if not is_classification:
        balance_rules.check_classes(config, name)


def _check_kind(config: ExperimentConfig) -> None:
    """As `check_kind`, for a named data set. What a source has is known once it is read."""
    if not config.data.source:
        name = config.data.name
        check_kind(config, name in CLASSIFICATION_DATASETS, name)


def _check_depth(config: ExperimentConfig) -> None:
    if len(config.model.hidden_units) > _MAX_LAYERS:
        raise ConfigError(
            f"`model.hidden_units` must name at most {_MAX_LAYERS} layers. Received: "
            f"{len(config.model.hidden_units)}; name fewer."
        )


def _check_blocks(config: ExperimentConfig) -> None:
    blocks, batch = config.train.reduction_blocks, config.data.global_batch_size
    if blocks and batch % blocks:
        raise ConfigError(
            "`train.reduction_blocks` must divide the global batch evenly. Received: "
            f"{blocks} for `data.global_batch_size` {batch}; try {math.gcd(blocks, batch)}."
        )


def _check_balance(config: ExperimentConfig) -> None:
    speeds, balance = config.data.worker_speeds, config.data.balance
    if speeds and balance != "weighted":
        raise ConfigError(
            "`data.balance` must be weighted with `data.worker_speeds`. Received: "
            f"{fields_lib.short_json(balance)}; leave out one of them."
        )
    if balance == "weighted" and not speeds:
        raise ConfigError(
            "`data.worker_speeds` must have a number for each task that trains, with "
            "`data.balance=weighted`. Received: none; set --config.data.worker_speeds=2,1, or balance="
            "measured."
        )


def _check_sequential_blocks(config: ExperimentConfig) -> None:
    if config.train.sequential_blocks and not config.recipe:
        raise ConfigError(
            "`train.sequential_blocks` must be false unless a recipe brings its own model, as XLA orders "
            "the operations of other models itself. Received: true; leave it out, or lower "
            "`data.global_batch_size`."
        )


def _check_threads(config: ExperimentConfig) -> None:
    if config.train.threads_per_operation != 1 and config.recipe:
        raise ConfigError(
            "`train.threads_per_operation` must be 1 for a recipe's own model, whose blocks are computed "
            f"in parallel. Received: {config.train.threads_per_operation}; leave it out."
        )


def _check_compiler(config: ExperimentConfig) -> None:
    if config.train.compiler != "auto" and not config.recipe:
        raise ConfigError(
            "`train.compiler` must be auto unless a recipe brings its own model, as XLA compiles all "
            f"others. Received: {config.train.compiler}; leave it out."
        )


def _check_batch_norm(config: ExperimentConfig) -> None:
    if config.model.batch_norm == "global" and config.train.sequential_blocks:
        raise ConfigError(
            "`model.batch_norm` must be block with `train.sequential_blocks`, as no block can end before "
            "the statistics of all are known. Received: 'global'; leave out one of them."
        )


def _check_used(name: str, *optimizers: str) -> Callable[[ExperimentConfig], None]:
    """The rule that a field of the optimizer is 0 unless the optimizer is one of `optimizers`."""

    def check(config: ExperimentConfig) -> None:
        value = getattr(config.optimizer, name)
        if value and config.optimizer.name not in optimizers:
            raise ConfigError(
                f"`optimizer.{name}` must be 0 for {config.optimizer.name}, which has none. "
                f"Received: {value}; use {' or '.join(optimizers)}, or leave it out."
            )

    return check


def _check_muon(config: ExperimentConfig) -> None:
    if config.optimizer.name == "muon" and not config.recipe:
        raise ConfigError(
            "`optimizer.name` must be another than muon unless a recipe brings its own model, as XLA "
            "rounds muon's matrix products differently inside a loop. Received: muon; use adamw, or "
            "bring the model."
        )


def _check_schedule(config: ExperimentConfig) -> None:
    """The rule that fields of the learning rate's schedule are set only where it reads them."""
    optimizer = config.optimizer
    defaults = type(optimizer)()
    for name, schedules in _READ_BY.items():
        value = getattr(optimizer, name)
        if value != getattr(defaults, name) and optimizer.schedule not in schedules:
            raise ConfigError(
                f"`optimizer.{name}` must be left out for `optimizer.schedule` {optimizer.schedule}. "
                f"Received: {fields_lib.short_json(value)}; set --config.optimizer.schedule to "
                f"{' or '.join(schedules)}."
            )
    if optimizer.schedule == "piecewise":
        _check_boundaries(optimizer)


def _check_boundaries(optimizer: OptimizerConfig) -> None:
    steps = [optimizer.warmup_steps, *optimizer.boundaries]
    if len(steps) == 1 or any(after <= before for before, after in itertools.pairwise(steps)):
        raise ConfigError(
            "`optimizer.boundaries` must be increasing steps after the warm-up. Received: "
            f"{fields_lib.short_json(optimizer.boundaries)} with `optimizer.warmup_steps` "
            f"{optimizer.warmup_steps}; try {optimizer.warmup_steps + 1000},"
            f"{optimizer.warmup_steps + 2000}."
        )


def _check_of_built_in_nets(config: ExperimentConfig) -> None:
    """The rule that options of the built-in nets are left out for a recipe's own model."""
    flat = flatten(config)
    for name, instead in _OF_BUILT_IN_NETS.items():
        if flat[name] and config.recipe:
            raise ConfigError(
                f"`{name}` must be 0 for a recipe that brings its own model. Received: {flat[name]}; use "
                f"{instead} in the recipe."
            )
    if config.model.dropout and not config.model.hidden_units:
        raise ConfigError(
            "`model.dropout` must be 0 without hidden layers, whose outputs it drops. Received: "
            f"{config.model.dropout}; leave it out."
        )


_OF_BUILT_IN_NETS = {
    "model.dropout": "keras.layers.Dropout",
    "model.l1": "a layer's kernel_regularizer",
    "model.l2": "a layer's kernel_regularizer",
    "train.label_smoothing": "a loss with label_smoothing",
    "train.focal_gamma": "keras.losses.CategoricalFocalCrossentropy",
}


def _check_early_stopping(config: ExperimentConfig) -> None:
    asked = config.early_stopping
    if not asked.patience and asked != type(asked)():
        raise ConfigError(
            "`early_stopping.patience` must be at least 1 beside other fields of `early_stopping`. "
            "Received: 0; try 3."
        )
    if asked.patience and not config.train.eval_every_epochs:
        raise ConfigError(
            "`train.eval_every_epochs` must be at least 1 with `early_stopping.patience`. Received: 0; "
            "try 1."
        )
    known = (*_BUILT_IN_METRICS, asked.metric if config.recipe else "loss")
    if asked.metric not in known:
        raise ConfigError(
            f"`early_stopping.metric` must be one of {', '.join(_BUILT_IN_METRICS)} for a built-in net. "
            f"Received: {fields_lib.short_json(asked.metric)}; try loss."
        )


def _check_privacy(config: ExperimentConfig) -> None:
    asked, defaults = config.privacy, type(config.privacy)()
    is_accounted = asked.max_epsilon or asked.delta != defaults.delta
    if not asked.clip_norm and (asked.noise_multiplier or is_accounted):
        raise ConfigError(
            "`privacy.clip_norm` must be above 0 beside other fields of `privacy`, as noise hides only "
            "what is bounded. Received: 0; try 1."
        )
    if not asked.noise_multiplier and is_accounted:
        raise ConfigError(
            "`privacy.noise_multiplier` must be above 0 beside `privacy.max_epsilon` and "
            "`privacy.delta`, as epsilon is infinite without noise. Received: 0; try 1."
        )
    if asked.clip_norm and config.model.batch_norm == "global":
        raise ConfigError(
            "`model.batch_norm` must be block with `privacy.clip_norm`. Received: 'global'; use layers "
            "that normalize each example alone, such as LayerNormalization or GroupNormalization."
        )


_BUILT_IN_METRICS = ("loss", "accuracy", "mean_absolute_error")
# The schedules that read a field of `optimizer`.
_READ_BY = {
    "decay_steps": OF_RUN_LENGTH,
    "decay_rate": ("exponential", "piecewise"),
    "final_ratio": ("cosine", "linear"),
    "boundaries": ("piecewise",),
}

_RULES: tuple[Callable[[ExperimentConfig], None], ...] = (
    _check_name,
    _check_recipe,
    _check_kind,
    partition_rules.check,
    _check_depth,
    _check_blocks,
    _check_balance,
    _check_sequential_blocks,
    _check_compiler,
    _check_threads,
    _check_batch_norm,
    _check_used("momentum", "sgd", "rmsprop"),
    _check_muon,
    _check_schedule,
    _check_early_stopping,
    _check_privacy,
    _check_of_built_in_nets,
    combinations.check,
    balance_rules.check_values,
    balance_rules.check_folds,
)
