"""Can the replicas of a cluster share each batch as the config asks? Raises ConfigError where not."""

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.model import reduction_blocks


def check_sync_mode(config: ExperimentConfig, choice: Choice) -> None:
    """Raises ConfigError where the strategy does not have the sync mode of the config."""
    if config.sync.mode not in ("auto", choice.sync_mode):
        raise ConfigError(
            f"`sync.mode` must be auto or {choice.sync_mode} with {choice.strategy}. "
            f"Received: {config.sync.mode!r}; {choice.reason}."
        )


def check_batch(
    config: ExperimentConfig, choice: Choice, cluster: ClusterSpec, num_devices: int
) -> None:
    """`check_replicas`, as far as the replicas are known before there is a runtime."""
    check_replicas(config, choice.num_replicas(cluster, num_devices))


def check_replicas(config: ExperimentConfig, replicas: int) -> None:
    """Raises ConfigError where the global batch or its blocks do not divide evenly among replicas."""
    batch = config.data.global_batch_size
    if replicas and batch % replicas:
        down, up = batch // replicas * replicas, -(-batch // replicas) * replicas
        raise ConfigError(
            "`data.global_batch_size` must divide evenly among replicas. Received: "
            f"{batch} for {replicas} replicas; try {f'{down} or {up}' if down else up}."
        )
    reduction_blocks.check(config.train.reduction_blocks, replicas)


def check_statistics(are_shared: bool, can_be_added: bool) -> None:
    """Raises ConfigError where replicas would have to add statistics within a step and cannot."""
    if are_shared and not can_be_added:
        raise ConfigError(
            "`model.batch_norm` must be block on a TPU, on several GPUs of one process, and with "
            "--transport=tensorflow. Received: 'global'; leave it out, or run a worker for each GPU with "
            "--transport=direct."
        )
