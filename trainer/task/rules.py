"""Which rules hold for a task before it meets its peers? `train` and `check` apply the same.

Both call the functions here, so that what `check` calls ready is what `train` starts. `train` raises the
first that is broken, and `check` reports each.
"""

from strategies import choose
from strategies.choose import Choice
from strategies.cluster import mesh_shape
from strategies.cluster.spec import ClusterSpec
from trainer.config import mesh_rules
from trainer.config import rules as config_rules
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.data import recipe_data, registry
from trainer.data.dataset import Dataset
from trainer.estimate import host_memory
from trainer.training import batch_split, optimizer_parts, sparse_embeddings


def check_evaluator(cluster: ClusterSpec, workdir: str) -> None:
    """Raises ConfigError where an evaluator is not told whose checkpoints to evaluate."""
    if cluster.is_evaluator and not workdir:
        raise ConfigError(
            "`--workdir` must name the folder in which the trainers save, for an evaluator. "
            "Received: none; give every task the same --workdir."
        )


def with_mesh(
    config: ExperimentConfig,
    choice: Choice,
    wanted: str,
    cluster: ClusterSpec,
    devices: list[str],
) -> Choice:
    """The choice with the mesh of the flag `--mesh`; "": none.

    Raises ClusterError or ConfigError where the cluster, the strategy or the config has no such mesh.
    """
    choice = choose.with_mesh(choice, wanted, cluster, devices)
    if wanted:
        mesh_rules.check(config, mesh_shape.parse(wanted, len(cluster.trainers())).model)
    return choice


def check_batch(
    config: ExperimentConfig, choice: Choice, cluster: ClusterSpec, devices: list[str]
) -> None:
    """Raises ConfigError where the replicas cannot share a global batch, or it cannot fit in memory.

    The memory for other data than those of `data.name` is known once they are loaded: `check_loaded`.
    """
    replicas = batch_split.Replicas.of_choice(choice, cluster, devices)
    batch_split.check_batch(config, replicas)
    optimizer_parts.check_choice(config, choice, cluster)
    sparse_embeddings.check_choice(config, choice)
    brings_data = config.data.source or recipe_data.brings_data(config)
    if not (choice.serves(cluster) or brings_data):
        size = 4 * registry.num_features(config.data)
        _check_memory(config, choice, cluster, len(devices), size)


def check_loaded(
    config: ExperimentConfig,
    choice: Choice,
    cluster: ClusterSpec,
    num_devices: int,
    dataset: Dataset,
) -> None:
    """Raises ConfigError where the config does not fit these data, or a batch does not fit in memory."""
    if not config.recipe:
        config_rules.check_kind(config, bool(dataset.num_classes), dataset.name)
    size = host_memory.bytes_per_example(dataset.train)
    _check_memory(config, choice, cluster, num_devices, size)


def _check_memory(
    config: ExperimentConfig, choice: Choice, cluster: ClusterSpec, num_devices: int, size: int
) -> None:
    replicas = choice.num_replicas(cluster, num_devices)
    host_memory.check_batch(config.data.global_batch_size, size, replicas)
