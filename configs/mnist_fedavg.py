"""Federated averaging on MNIST: 784-200-200-10, 100 clients, 10 in a round.

    python -m trainer --config=mnist_fedavg
    python -m trainer --config=mnist_fedavg --config.data.partition=shards --config.train.epochs=300

Expect 60 rounds of about 1 s and a test accuracy of 0.975. It passes 97 % after 31 rounds; with the
second command, whose clients have two of the ten classes, after 166, and ends near 0.97.

From the paper of McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
Data", 2017, table 1, E = 1, B = 10, C = 0.1: 87 rounds for evenly mixed data and 664 for the other. As
there, each is with the best of some learning rates: here 0.2, of 0.1 and 0.2 (52 and 196 rounds with
0.1).
"""

from trainer.recipe import (
    DataConfig,
    ExperimentConfig,
    FederatedConfig,
    ModelConfig,
    OptimizerConfig,
    SyncConfig,
    TrainConfig,
)


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        # In federated mode a batch is one client's, and an epoch is a round.
        data=DataConfig(name="mnist", global_batch_size=10, partition="random", partitions=100),
        model=ModelConfig(hidden_units=(200, 200)),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.2),
        train=TrainConfig(epochs=60, checkpoint_every_steps=20),
        sync=SyncConfig(mode="federated"),
        federated=FederatedConfig(clients_per_round=10, local_epochs=1),
    )
