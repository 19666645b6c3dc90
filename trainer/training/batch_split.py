"""How do the replicas of a cluster share each batch? Raises ConfigError where they cannot as asked.

A batch is cut into blocks (`reduction_blocks.py`), of which each replica holds a run.
"""

import dataclasses

from strategies import packages
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.leaf_runs import LeafRuns
from strategies.runtime import Runtime
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig
from trainer.data import balance
from trainer.model import reduction_blocks
from trainer.training import agreements


@dataclasses.dataclass(frozen=True)
class Replicas:
    """What decides how a batch can be divided among replicas.

    `number`: over all workers, 0 where only the runtime can know it. `any_runs`: one may hold any run of
    blocks, see `reduction_blocks.fits`. `on_cpus`: there batches are added in blocks, asked for or not.
    """

    number: int
    workers: int
    any_runs: bool
    on_cpus: bool

    @classmethod
    def of_choice(cls, choice: Choice, cluster: ClusterSpec, devices: list[str]) -> "Replicas":
        """As far as they are known before there is a runtime."""
        return cls(
            choice.num_replicas(cluster, len(devices)),
            _workers(choice, cluster),
            choice.adds_within_step(devices),
            bool(devices) and devices[0].startswith("CPU"),
        )

    @classmethod
    def of_runtime(cls, runtime: Runtime) -> "Replicas":
        return cls(
            runtime.num_replicas,
            runtime.num_workers,
            runtime.adds_within_step,
            runtime.device_type == "CPU",
        )


def _workers(choice: Choice, cluster: ClusterSpec) -> int:
    """Those among which the blocks of a batch are divided."""
    if choice.mesh:
        return choice.mesh.data
    return len(cluster.trainers()) if choice.traits.has_transport else 1


def with_agreement(config: ExperimentConfig, choice: Choice) -> Choice:
    """The choice with the agreement that the config asks for.

    Raises ConfigError where the strategy does not have that mode.
    """
    if config.sync.mode not in ("auto", *choice.sync_modes):
        *others, last = ("auto", *choice.sync_modes)
        raise ConfigError(
            f"`sync.mode` must be {', '.join(others)} or {last} with {choice.strategy}. "
            f"Received: {config.sync.mode!r}; {choice.reason}."
        )
    if config.privacy.homomorphic and not packages.version("tenseal"):
        raise ConfigError(
            "`privacy.homomorphic` must be false without the package tenseal, which encrypts. Received: "
            "true; run `pip install 'muster[homomorphic]'`."
        )
    agreement = agreements.of(config, choice.sync_modes[0])
    return dataclasses.replace(choice, agreement=agreement)


def check_batch(config: ExperimentConfig, replicas: Replicas) -> None:
    """Raises ConfigError where the global batch cannot be divided among replicas as the config asks."""
    if agreements.of(config).trains_apart:
        return _check_apart(config, replicas)
    if replicas.number:
        reduction_blocks.check(
            config.data.global_batch_size,
            config.train.reduction_blocks,
            replicas.number,
            replicas.any_runs and _adds_blocks(config, replicas),
        )
    if config.data.balance == "equal" or replicas.workers == 1:
        return
    if not (replicas.any_runs and num_blocks(config, replicas)):
        raise ConfigError(
            "`data.balance` must be equal where workers have no blocks that could be moved. Received: "
            f"{short_json(config.data.balance)} for {replicas.number} replicas; leave it out, or set "
            "--transport=direct, and --config.train.reduction_blocks to a larger number than that."
        )
    speeds = config.data.worker_speeds
    if speeds and len(speeds) != replicas.workers:
        raise ConfigError(
            "`data.worker_speeds` must have a number for each task that trains. Received: "
            f"{short_json(speeds)} for {replicas.workers} tasks; add or remove some, or leave them out "
            "with --config.data.balance=measured."
        )


def _check_apart(config: ExperimentConfig, replicas: Replicas) -> None:
    """Raises ConfigError where logical replicas cannot be carried, or share no batch, as asked."""
    number, mode = agreements.of(config).replicas, config.sync.mode
    is_federated = mode == "federated"
    if replicas.workers > number:
        name = "federated.clients_per_round" if is_federated else "sync.replicas"
        raise ConfigError(
            f"`{name}` must be at least the number of workers, each of which carries one or more. "
            f"Received: {number} for {replicas.workers} workers; raise it, or start fewer."
        )
    if replicas.workers > 1 and not replicas.any_runs:
        raise ConfigError(
            f"`sync.mode` must be auto or gradients with --transport=tensorflow. Received: {mode!r}; "
            "give --transport=direct, with one GPU per worker."
        )
    if config.federated.own_data and number % replicas.workers:
        raise ConfigError(
            "`federated.clients_per_round` must divide evenly among workers with `federated.own_data`. "
            f"Received: {number} for {replicas.workers} workers; try "
            f"{number // replicas.workers * replicas.workers}."
        )
    if not is_federated:  # There a batch is one client's.
        wanted = config.train.reduction_blocks
        reduction_blocks.check(config.data.global_batch_size, wanted, number, any_runs=False)


def num_blocks(config: ExperimentConfig, replicas: Replicas) -> int:
    """The blocks that these replicas add in a fixed order; 0: each adds its share as one."""
    count = reduction_blocks.num_blocks(
        config.data.global_batch_size, config.train.reduction_blocks
    )
    fits = reduction_blocks.fits(count, replicas.number, replicas.any_runs)
    return count if fits and _adds_blocks(config, replicas) else 0


def runs(config: ExperimentConfig, replicas: Replicas, blocks: int) -> LeafRuns:
    """The blocks of each replica at the start of a run. `blocks`: `num_blocks`, or 0."""
    if (agreement := agreements.of(config)).trains_apart:
        return LeafRuns.even(agreement.replicas, agreement.replicas)
    if not (blocks and replicas.any_runs):
        return LeafRuns.even(blocks or replicas.number, replicas.number)
    speeds = config.data.worker_speeds if replicas.workers > 1 else ()
    counts = balance.divided(blocks, speeds or [1.0] * replicas.workers)
    return balance.of_replicas(counts, replicas.number // replicas.workers)


def describe(
    config: ExperimentConfig, choice: Choice, cluster: ClusterSpec, devices: list[str]
) -> str:
    """How a global batch is divided, for the user."""
    if choice.agreement.trains_apart:
        workers = len(cluster.trainers())
        return choice.agreement.describe_batch(config.data.global_batch_size, workers)
    replicas, batch = Replicas.of_choice(choice, cluster, devices), config.data.global_batch_size
    shares: list[int] = []
    if replicas.number:
        held = runs(config, replicas, num_blocks(config, replicas))
        shares = [batch // held.num_leaves * count for count in held.counts]
    words = choice.describe_batch(cluster, batch, shares)
    moves = config.data.balance == "measured" and replicas.workers > 1
    return f"{words}, in blocks that are moved by measured speed" if moves else words


def _adds_blocks(config: ExperimentConfig, replicas: Replicas) -> bool:
    # Elsewhere several small products cost more than a large one.
    return bool(config.train.reduction_blocks) or replicas.on_cpus


def check_statistics(are_shared: bool, can_be_added: bool) -> None:
    """Raises ConfigError where replicas would have to add statistics within a step and cannot."""
    if are_shared and not can_be_added:
        raise ConfigError(
            "`model.batch_norm` must be block on a TPU, on several GPUs of one process, and with "
            "--transport=tensorflow. Received: 'global'; leave it out, or run a worker for each GPU with "
            "--transport=direct."
        )
