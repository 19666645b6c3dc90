"""Which fields of the config say when replicas agree, and on what?

`SyncConfig` has the mode and what it reads, `FederatedConfig` the rounds of federated averaging.
"""

import dataclasses

from strategies.sync.names import COMPRESSIONS, MODES, OUTERS, SLOTS
from trainer.config.fields import option


@dataclasses.dataclass(frozen=True)
class SyncConfig:
    """When replicas agree, and on what. docs/agreement.md explains the modes."""

    mode: str = option(
        "auto",
        "gradients: all replicas add their gradients in each step; parameters: logical replicas train "
        "apart and average their parameters every `every_steps`; dynamic: the same, after an interval "
        "that follows their spread; federated: clients that are shares of the data train apart for a "
        "round; async: each worker updates the parameter servers after each step, and waits for no "
        "other; async_window: after a window of steps; auto: async_window if the cluster has a ps job, "
        "else gradients",
        choices=("auto", *MODES),
    )
    replicas: int = option(
        4,
        "logical replicas that share the global batch, for parameters and dynamic. Workers and devices "
        "carry them, so the weights do not depend on how many there are",
        least=1,
        since=2,
    )
    every_steps: int = option(
        20,
        "steps between two agreements, for parameters; the first such interval, for dynamic. Replicas "
        "also agree after the last step of an epoch",
        least=1,
        since=2,
    )
    min_steps: int = option(
        5,
        "the shortest interval of dynamic: `every_steps` divided by a power of two",
        least=1,
        since=2,
    )
    max_steps: int = option(
        80, "the longest interval of dynamic: `every_steps` times a power of two", least=1, since=2
    )
    max_spread: float = option(
        0.01,
        "for dynamic: halve the interval where the replicas' parameters were further from their average "
        "than this, relative to its norm; double it where they were within half of this",
        above=0,
        below=1e6,
        since=2,
    )
    window_steps: int = option(
        0,
        "for async_window: steps that a worker takes between pulling the weights and pushing the result; "
        "0: as many as take `window_ms`, or else chosen automatically",
        least=0,
        since=2,
    )
    window_ms: float = option(
        0.0,
        "for async_window: milliseconds of such a window, by the mean speed of the workers so far; 0: "
        "see `window_steps`",
        least=0,
        below=1e6,
        since=2,
    )
    max_staleness: int = option(
        -1,
        "for async and async_window: the most pushes of others between a worker's pull and its push; 0: "
        "one window after the other, with the weights of a single process; -1: any number",
        least=-1,
        since=2,
    )
    compression: str = option(
        "none",
        "how the updates of replicas that train apart are made smaller: as bf16 or fp16 numbers, as int8 "
        "with a scale for each weight, or topk: only the largest. What is left out is added to the next",
        choices=COMPRESSIONS,
        since=2,
    )
    topk_share: float = option(
        0.01, "share of an update's numbers that topk sends", above=0, below=1, since=2
    )
    topk_warmup_steps: int = option(
        0, "steps in which that share falls from a quarter", least=0, since=2
    )
    slots: str = option(
        "auto",
        "what becomes of each replica's optimizer state at an agreement. keep: it stays the replica's; "
        "average: it is averaged too, which multiplies the bytes; reset: it starts anew; auto: keep, and "
        "for federated reset",
        choices=("auto", *SLOTS),
        since=2,
    )
    shard_optimizer: bool = option(
        False,
        "workers that add their gradients each hold a part of the optimizer's state, update that part of "
        "the weights, and send these to the others: the same weights in less memory, for an optimizer "
        "that updates each number of a weight alone, such as adam",
        since=2,
    )
    outer: str = option(
        "none",
        "how the replicas' mean update changes the weights. none: they become the average; sgd, "
        "nesterov: it is a step of this optimizer, as in DiLoCo, or in federated averaging with server "
        "momentum",
        choices=OUTERS,
        since=2,
    )
    outer_learning_rate: float = option(
        1.0, "learning rate of `outer`; DiLoCo has 0.7", above=0, below=1e6, since=2
    )
    outer_momentum: float = option(
        0.0, "momentum of `outer`; DiLoCo has 0.9", least=0, below=1, since=2
    )


@dataclasses.dataclass(frozen=True)
class FederatedConfig:
    """The rounds of `sync.mode` federated. Each share of `data.partition` is a client's."""

    clients_per_round: int = option(
        10, "clients that train in a round, drawn by `train.seed`", least=1, since=2
    )
    local_epochs: int = option(
        1, "passes of a client over its own examples in a round", least=1, below=1000, since=2
    )
    own_data: bool = option(
        False,
        "each worker has data of its own, in its own `data.source`, divided into `data.partitions` "
        "clients, and each trains the same number of its clients in a round. Examples never leave the "
        "worker; the first worker's test examples are evaluated",
        since=2,
    )
    proximal: float = option(
        0.0,
        "mu of FedProx: adds mu / 2 times the squared distance from the round's first weights to a "
        "client's loss",
        least=0,
        below=1e6,
        since=2,
    )
