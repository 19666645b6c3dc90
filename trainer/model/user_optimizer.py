"""How does any Keras optimizer of a recipe become one for each weight?

`for_each_weight` makes copies of it that keep its settings and schedule. One that connects the weights in
a way that copies cannot keep is refused.
"""

from collections.abc import Callable
from typing import Any

import keras

from trainer.config.fields import ConfigError
from trainer.model import optimizers

_OF_ALL_WEIGHTS = ("apply", "_backend_update_step")


def check(optimizer: Any, ema_momentum: float = 0.0) -> None:
    """Raises ConfigError where an optimizer cannot be used, with `optimizer.ema_momentum`."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ConfigError(
            "`get_optimizer` must return a Keras optimizer. Received: "
            f"a {type(optimizer).__name__}; return e.g. keras.optimizers.Adam(0.001)."
        )
    optimizer = without_loss_scale(optimizer)
    if own := optimizers.overridden(type(optimizer), _OF_ALL_WEIGHTS):
        raise ConfigError(
            "`get_optimizer` must return an optimizer that updates each weight for itself. Received: "
            f"{optimizer.name}, which has its own `{own[0]}`; use another, e.g. Adam."
        )
    if value := optimizer.gradient_accumulation_steps:
        raise ConfigError(
            "`get_optimizer` must return an optimizer without `gradient_accumulation_steps`. Received: "
            f"{value!r} for {optimizer.name}; raise `data.global_batch_size`, with "
            "`train.sequential_blocks` where memory is short."
        )
    if getattr(optimizer, "_exclude_from_weight_decay", None):
        raise ConfigError(
            "`get_optimizer` must return an optimizer that names what it excludes from weight decay. "
            f"Received: {optimizer.name} with `var_list`; give `var_names` to "
            "`exclude_from_weight_decay`."
        )
    if ema_momentum and optimizer.use_ema:
        raise ConfigError(
            "`optimizer.ema_momentum` must be 0 where the recipe's optimizer has `use_ema` itself. "
            f"Received: {ema_momentum:g}; leave out one of the two."
        )


def without_loss_scale(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that a LossScaleOptimizer wraps, or the optimizer itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.inner_optimizer
    return optimizer


def settings_of(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """The optimizer's config, with the class of a schedule, which may not describe itself."""
    rate = optimizer._learning_rate
    if isinstance(rate, keras.Variable):
        return optimizer.get_config()
    try:
        optimizer._learning_rate = keras.Variable(0.0, trainable=False)
        return optimizer.get_config() | {"learning_rate": type(rate).__name__}
    finally:
        optimizer._learning_rate = rate


def for_each_weight(optimizer: keras.optimizers.Optimizer, ema_momentum: float = 0.0) -> Callable:
    """A function that returns an unbuilt copy of the optimizer, whose `stateless_apply` works.

    `ema_momentum`: of averages of the weights, which the copies keep; 0: as the optimizer says.
    """
    kind = optimizers.stateless(type(optimizer))

    def make():
        settings = settings_of(optimizer)
        if not isinstance(optimizer._learning_rate, keras.Variable):
            settings["learning_rate"] = optimizer._learning_rate
        # The program does what is about all weights.
        settings |= {"global_clipnorm": None, "loss_scale_factor": None}
        settings |= optimizers.ema_settings(ema_momentum)
        copy = kind.from_config(settings)
        if excluded := getattr(optimizer, "_exclude_from_weight_decay_pattern", None):
            copy.exclude_from_weight_decay(var_names=[excluded.pattern])
        return copy

    return make
