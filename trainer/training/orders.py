"""Which order of the training examples does a config ask for?

One order over all of them, to which each share of the data gives its part; or, where replicas train apart
on a share each, an order of their own for each.
"""

from strategies.collectives.leaf_runs import LeafRuns
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.data import class_balance
from trainer.data.dataset import Dataset
from trainer.order import partition
from trainer.order.apart_order import ClientRounds, ReplicaShares
from trainer.order.balanced_order import BalancedOrder
from trainer.order.order import Order
from trainer.order.partitioned_order import PartitionedOrder
from trainer.order.sample_order import SampleOrder
from trainer.training import agreements


def of(config: ExperimentConfig, dataset: Dataset, carried: range = range(1)) -> Order:
    """The order, a pure function of the data, its shares and the config.

    `carried`: the logical replicas of this process, which decide where its data is its own.

    Raises:
      ConfigError: the numbers of shares and of replicas differ, or there are too few clients.
      PartitionError: the data has no shares yet and cannot be divided as the config says.
    """
    seed, batch, shuffle = config.train.seed, config.data.global_batch_size, config.data.shuffle
    if config.data.resample == "balanced":
        labels = class_balance.labels(dataset, "data.resample")
        return BalancedOrder(labels, batch, seed, shuffle)
    if config.data.partition == "none":
        return SampleOrder(len(dataset.train), batch, seed, shuffle)
    shares = (dataset.partition or partition.of(config, dataset)).shares
    agreement = agreements.of(config)
    if not agreement.trains_apart:
        return PartitionedOrder(shares, batch, seed, shuffle)
    if agreement.mode == "federated":
        drawn, first_client = agreement.replicas, 0
        if config.federated.own_data:
            drawn, first_client = len(carried), carried.start // len(carried) * len(shares)
        if len(shares) < drawn:
            raise ConfigError(
                "`federated.clients_per_round` must be at most the number of shares of the data, "
                f"{len(shares)}. Received: {drawn} of them; lower it."
            )
        local = config.federated.local_epochs
        return ClientRounds(shares, drawn, batch, local, seed, shuffle, first_client)
    if len(shares) != agreement.replicas:
        raise ConfigError(
            f"`sync.replicas` must be the number of shares of the data, {len(shares)}, as each replica "
            f"trains on one. Received: {agreement.replicas}; set --config.sync.replicas={len(shares)}, "
            "or leave `data.partition` out."
        )
    return ReplicaShares(shares, batch // agreement.replicas, seed, shuffle)


def steps_per_epoch(config: ExperimentConfig, dataset: Dataset) -> int:
    """That of the order, without dividing the data where this does not matter."""
    agreement = agreements.of(config)
    if agreement.mode == "federated":
        return ClientRounds.steps_per_epoch
    if agreement.trains_apart and config.data.partition != "none":
        return of(config, dataset).steps_per_epoch
    return -(-len(dataset.train) // config.data.global_batch_size)


def columns(config: ExperimentConfig, runs: LeafRuns, carried: range) -> tuple[LeafRuns, range]:
    """Which blocks of the order's rows there are, and which of them are this process's.

    Args:
      runs: the blocks of each replica.
      carried: the replicas of this process.
    """
    if config.federated.own_data:  # Each row has this process's clients only.
        return LeafRuns.even(len(carried), len(carried)), range(len(carried))
    return runs, carried


def total_steps(config: ExperimentConfig, steps_per_epoch: int) -> int:
    """Of the run, unless something ends it before."""
    return config.train.steps or config.train.epochs * steps_per_epoch
