"""What would a run of this config train, in a sentence for each part? For `check`.

Each function makes a part as `train` would, and raises what `train` would raise.
"""

from strategies.choose import Choice
from strategies.cluster.mesh_shape import MeshShape, ModelPart
from strategies.cluster.spec import ClusterSpec
from trainer.config.schema import ExperimentConfig
from trainer.data import augment as augment_lib
from trainer.data import recipe_data
from trainer.data.dataset import Dataset
from trainer.storage import saved_weights
from trainer.training import batch_split


def augment(config: ExperimentConfig, dataset: Dataset) -> str:
    """How the training examples are changed, for a config that has them changed."""
    recipe = recipe_data.recipe_of(config)
    found = augment_lib.of(recipe, dataset.train, config.train.seed, config.data.augment)
    assert found is not None
    return f"{found.description}; {1e6 * found.check():.0f} µs for each example"


def model(
    config: ExperimentConfig, dataset: Dataset, choice: Choice | None, devices: list[str] | None
) -> str:
    """The model of a recipe that brings its own. What is not known (None) is not compared."""
    recipe = recipe_data.recipe_of(config)
    assert recipe is not None
    from trainer.model import user_model  # It imports TensorFlow.
    from trainer.training import agreements, assemble

    own = user_model.build(recipe, config, dataset)
    if choice and devices is not None:
        can_be_added = choice.adds_within_step(devices)
        batch_split.check_statistics(own.program.shares_statistics, can_be_added)
    agreements.check_optimizers(config, own.program.optimizers)
    assemble.early_stopping(config, own.program)
    weights = sum(weight.size for weight in own.program.initial_weights())
    metrics = ", ".join(own.program.metric_names)
    return f"{own.program.model.name}: {weights:,} weights to train; it reports {metrics}"


def parts(config: ExperimentConfig, dataset: Dataset, mesh: MeshShape | None) -> str:
    """How each layer of a model with blocks is held, and the bytes of its weights and slots on a task."""
    from trainer.model import held_parts, sharding  # They import TensorFlow.
    from trainer.training import programs

    number = mesh.model if mesh else 1
    part = ModelPart(0, number)
    program, _ = programs.program(config, dataset, 0, "CPU", part, keeps_values=False)
    held = held_parts.bytes_of_weights(program)
    total = sum(held_parts.bytes_of_weights(program, whole=True).values())
    lines = [
        f"{config.model.blocks} model blocks, in {number} part{'s' if number > 1 else ''}: "
        f"{sum(held.values()):,} of {total:,} bytes of weights and slots on each task that trains"
    ]
    for one in sharding.placed(program.model, program.blocks):
        own = sum(held.get(id(weight), 0) for weight in one.layer.weights)
        reason = f" ({one.reason})" if one.reason else ""
        lines.append(f"{one.layer.name}: {one.kind}, {own:,} bytes{reason}")
    return "\n".join(lines)


def weights(config: ExperimentConfig, dataset: Dataset, is_read: bool) -> str:
    """What the run begins with, and which layers it does not train. `is_read`: whether by this task."""
    from trainer.training import programs, warm_start  # They import TensorFlow.

    program = programs.training_program(config, dataset)
    frozen, source = config.model.frozen_layers, config.model.initial_weights
    lines = [f"{frozen}: not trained"] if frozen else []
    if source and not is_read:
        lines.append(f"{source}: not read here")
    elif source:
        warm_start.state(program, saved_weights.read(source), config.model.skipped)
        lines.append(f"{source}: names and shapes are those of the model")
    return "\n".join(lines)


def optimizer(
    config: ExperimentConfig, dataset: Dataset, choice: Choice, cluster: ClusterSpec
) -> str:
    """Who holds the optimizer's state, and in how many bytes, of a config that divides it."""
    from trainer.training import optimizer_parts, programs  # They import TensorFlow.

    program = programs.training_program(config, dataset)
    return optimizer_parts.describe(config, program, choice, cluster)


def tables(config: ExperimentConfig, dataset: Dataset) -> str:
    """How each embedding is sent, of a config that has their rows sent."""
    from trainer.training import programs, sparse_embeddings  # They import TensorFlow.

    return sparse_embeddings.describe(config, programs.training_program(config, dataset), dataset)


def privacy(config: ExperimentConfig, dataset: Dataset) -> str:
    """What the run costs in privacy."""
    from trainer.training import orders, privacy_budget  # They import TensorFlow.

    asked = config.privacy
    what = "client" if config.sync.mode == "federated" else "example"
    clipped = f"each {what} is clipped to norm {asked.clip_norm:g}"
    budget = privacy_budget.of(config, len(dataset.train))
    if not budget:
        return f"{clipped}, without noise: epsilon is infinite"
    total = orders.total_steps(config, orders.steps_per_epoch(config, dataset))
    last = budget.last_step(total)
    early = f" of {total:,}, where the limit ends the run" if last < total else ""
    return (
        f"{clipped}; epsilon {budget.epsilon(last):.3g} at delta {asked.delta:g} after {last:,} "
        f"steps{early}"
    )
