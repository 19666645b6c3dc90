"""Which mathematics does a config ask for?

`program` makes the step of a built-in net, or of a recipe's own model.
"""

import contextlib
import functools
from typing import Any

import tensorflow as tf

from strategies.cluster.mesh_shape import ModelPart
from trainer.config.schema import ExperimentConfig
from trainer.data import recipe_data
from trainer.data.dataset import Dataset
from trainer.model import (
    block_compiler,
    build,
    forward,
    frozen_layers,
    held_parts,
    learning_rates,
    losses,
    optimizers,
    private_gradients,
    sharding,
)
from trainer.model.step import TrainingProgram
from trainer.training import orders


def training_program(
    config: ExperimentConfig, dataset: Dataset, block_size: int = 0
) -> TrainingProgram:
    """The mathematics of one step on a CPU. `block_size`: see `TrainingProgram`."""
    return program(config, dataset, block_size, "CPU")[0]


def program(
    config: ExperimentConfig,
    dataset: Dataset,
    block_size: int,
    device_type: str,
    part: ModelPart = ModelPart(),  # noqa: B008, a constant.
    keeps_values: bool = True,
) -> tuple[TrainingProgram, dict[str, Any] | None]:
    """The mathematics of one step, and the architecture of a recipe's own model.

    `part`: that of the model which this process holds. `keeps_values`: whether the variables of a
    built-in net have memory, as to assign them takes; a runtime that trains has its own.

    Sets whether this process's float32 products may use fewer bits (`train.exact_products`).
    """
    # TensorFlow names the setting after GPUs' TF32; it holds for a TPU's compiler too.
    tf.config.experimental.enable_tensor_float_32_execution(not config.train.exact_products)
    per_epoch = orders.steps_per_epoch(config, dataset)
    total_steps = orders.total_steps(config, per_epoch)
    learning_rates.check(config.optimizer, total_steps)
    if recipe := recipe_data.recipe_of(config):
        from trainer.model import user_model  # It imports Keras's training code.

        own = user_model.build(recipe, config, dataset, block_size, device_type, total_steps)
        if not part.is_whole:
            held_parts.take(own.program, part)
        return own.program, {"sources": recipe.sources(), **own.architecture}
    shape = dataset.train.features.shape[1:]
    with contextlib.nullcontext() if keeps_values else held_parts.unmade():
        model = build.build(config.model, shape, dataset.num_outputs, config.train.seed)
    frozen_layers.freeze(model, config.model.frozen)
    blocks = sharding.cut(model, config.model)
    names = forward.variable_names(model, model.trainable_variables)
    make_optimizer = functools.partial(optimizers.make_optimizer, config.optimizer, total_steps)
    private = private_gradients.of(config)
    found = TrainingProgram(
        model,
        losses.classification(config.train.label_smoothing, config.train.focal_gamma)
        if dataset.num_classes
        else losses.REGRESSION,
        optimizers.Optimizers(model.trainable_variables, names, make_optimizer),
        feature_scale=dataset.feature_scale,
        global_clipnorm=config.optimizer.global_clipnorm,
        block_size=block_size,
        uses_xla=private is None and blocks is None,
        trims_padding=private is not None and device_type != "TPU",
        private=private,
        blocks=blocks,
    )
    if blocks:  # Parts of a model exchange numbers in the middle of a step, which XLA cannot.
        block_compiler.keep_blocks_apart()
        if not part.is_whole:
            held_parts.take(found, part)
    if private:  # XLA would round the norms differently in a loop and outside it.
        block_compiler.keep_blocks_apart()
        if device_type == "CPU":
            block_compiler.compile_each(found)
    return found, None
