"""How will this cluster's replicas work together, and why? `choose` picks a strategy and says the reason.

It decides from values alone, without TensorFlow, so a wrong command fails within milliseconds.
`create.py` then makes the runtime. `traits.py` lists how the strategies differ.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from strategies.cluster import alone, mesh_shape
from strategies.cluster.mesh_shape import MeshShape
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError
from strategies.traits import TRAITS, DeviceSource, StrategyTraits

if TYPE_CHECKING:  # It imports NumPy, which a command line that is only read does not need.
    from strategies.sync.agreement import Agreement

STRATEGIES = ("auto", *TRAITS)
TRANSPORTS = ("auto", "direct", "tensorflow")


def _each_step() -> "Agreement":
    from strategies.sync.gradients import Gradients

    return Gradients()


@dataclasses.dataclass(frozen=True)
class Choice:
    """A strategy, in one sentence why it was chosen, and how its replicas agree."""

    strategy: str
    reason: str
    tpu: str = ""
    tpu_timeout_s: float = 120.0  # To connect to a TPU that is given by name.
    transport: str = ""  # Between workers: one of TRANSPORTS but auto. Empty where there are none.
    shares_memory: bool = True  # Between workers on one machine, with the transport `direct`.
    mesh: MeshShape | None = None  # Where workers hold parts of the model.
    agreement: "Agreement" = dataclasses.field(default_factory=_each_step)

    @property
    def traits(self) -> StrategyTraits:
        return TRAITS[self.strategy]

    @property
    def transport_description(self) -> str:
        """The transport in words."""
        return {
            "direct": "over the workers' own connections, or in shared memory on one machine: the "
            "fastest way on CPUs",
            "tensorflow": "through TensorFlow's collectives, as GPUs need",
        }[self.transport]

    @property
    def starts_servers(self) -> bool:
        """Whether TensorFlow's servers will run; their start can block every thread of the process."""
        return self.traits.starts_servers or self.transport == "tensorflow"

    @property
    def sync_modes(self) -> tuple[str, ...]:
        """How its replicas may agree; the first is the default."""
        return self.traits.sync_modes

    @property
    def every_task_loads_data(self) -> bool:
        return not self.traits.leader_coordinates

    def serves(self, cluster: ClusterSpec) -> bool:
        """Whether this task only serves: it loads no data and runs no training loop."""
        return self.traits.leader_coordinates and not cluster.is_leader

    def num_replicas(self, cluster: ClusterSpec, num_devices: int) -> int:
        """Replicas that share one global batch; 0 where only the runtime can know, as on a TPU."""
        if self.agreement.trains_apart:
            return self.agreement.replicas
        if self.traits.one_worker_per_step:
            return 1
        if self.mesh:
            return self.mesh.data
        return len(cluster.trainers()) * num_devices

    def adds_within_step(self, devices: list[str]) -> bool:
        """Whether replicas on these local devices can add numbers in the middle of a step.

        Then this program adds them, and not TensorFlow: so replicas may hold any run of blocks.
        """
        if self.traits.has_transport:
            return self.transport == "direct"
        share_a_device = len(devices) < 2 or devices[0].startswith("CPU")
        return self.traits.adds_within_step and share_a_device

    def describe_batch(
        self, cluster: ClusterSpec, global_batch_size: int, shares: Sequence[int]
    ) -> str:
        """How a global batch is divided, for the user. `shares`: the examples of each replica."""
        per_step = f"{global_batch_size} examples per step"
        if self.traits.one_worker_per_step:
            return f"{per_step}, each step on one of {len(cluster.trainers())} workers"
        if not shares:
            return f"{per_step}, over the cores of the TPU"
        if len({*shares}) == 1:
            return f"{per_step} = {len(shares)} x {shares[0]}"
        return f"{per_step} = {' + '.join(map(str, shares))}"

    def replaceable_tasks(self, cluster: ClusterSpec) -> frozenset[Task]:
        """The tasks whose loss the run survives, as long as one of them is left."""
        return frozenset(cluster.trainers() if self.traits.survives_worker_loss else ())

    def for_evaluation(self) -> "Choice":
        """How one task evaluates this run's checkpoints without the others."""
        if self.traits.evaluates_checkpoints:
            return self
        one = Choice("mirrored", "a checkpoint is evaluated on one machine")
        return dataclasses.replace(one, agreement=self.agreement)


def tpu_from_env(environ: Mapping[str, str] = os.environ) -> str:
    """The TPU that the environment names, "local" where it names only a kind, or ""."""
    for name in ("KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_NAME"):
        if environ.get(name):
            return environ[name]
    return "local" if environ.get("TPU_CONFIG") else ""


def asks_for_tpu(strategy: str, tpu: str) -> bool:
    """Whether the flags `--strategy` and `--tpu` ask for a TPU."""
    return bool(tpu) or (strategy in TRAITS and TRAITS[strategy].devices is DeviceSource.TPU)


def choose(
    cluster: ClusterSpec,
    wanted: str = "auto",
    tpu: str = "",
    tpu_in_env: str = "",
    startup_timeout_s: float = 120.0,
) -> Choice:
    """The strategy for a cluster.

    Args:
      cluster: of any source.
      wanted: the flag `--strategy`, one of STRATEGIES.
      tpu: the flag `--tpu`.
      tpu_in_env: `tpu_from_env()`. An explicit `--strategy` overrides it.
      startup_timeout_s: the flag `--startup_timeout_s`.

    Raises:
      ClusterError: the flags contradict the cluster or each other.
    """
    if wanted not in STRATEGIES:
        raise ClusterError(
            f"`--strategy` must be one of {', '.join(STRATEGIES)}. Received: {wanted!r}."
        )
    if tpu and wanted != "auto" and not asks_for_tpu(wanted, ""):
        raise ClusterError(
            f"`--tpu` and `--strategy={wanted}` contradict each other. Received: {tpu!r}; leave one out."
        )
    from_flag = asks_for_tpu(wanted, tpu)
    if from_flag or (tpu_in_env and wanted == "auto"):
        found = _tpu(cluster, tpu or tpu_in_env or "local", from_flag)
        return dataclasses.replace(found, tpu_timeout_s=startup_timeout_s)
    found = _from_cluster(cluster)
    if wanted in ("auto", found.strategy):
        return found
    return _overridden(cluster, wanted, found)


def _from_cluster(cluster: ClusterSpec) -> Choice:
    if not cluster.jobs:
        return Choice("mirrored", "TF_CONFIG names no cluster, so the devices here train together")
    place = cluster.source
    if cluster.has_ps:
        servers = len(cluster.jobs["ps"])
        held = f"{servers} parameter servers hold" if servers > 1 else "a parameter server holds"
        workers = _count(len(cluster.trainers()), "worker")
        return Choice(
            "parameter_server",
            f"{place} has a `ps` job, so {held} the weights, {workers} "
            "compute and the chief coordinates",
        )
    if cluster.is_single_task:
        return Choice("mirrored", f"{place} names a single task, so its devices train together")
    tasks = _count(len(cluster.trainers()), "task")
    return Choice(
        "multi_worker",
        f"{place} has {tasks} that train and no `ps`, so they add their gradients every step",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _overridden(cluster: ClusterSpec, wanted: str, found: Choice) -> Choice:
    """The strategy of the flag, where the cluster can run it too."""
    if wanted == "multi_worker" and cluster.jobs and cluster.is_single_task:
        return Choice(
            "multi_worker", f"the flag --strategy asks for it; {cluster.source} names one task"
        )
    fix = TRAITS[wanted].fix.format(source=cluster.source, without=alone.without(cluster.source))
    raise ClusterError(
        f"`--strategy={wanted}` contradicts {cluster.source}, which asks for {found.strategy}: "
        f"{found.reason}. Received: {cluster}; {fix}."
    )


def _tpu(cluster: ClusterSpec, tpu: str, from_flag: bool) -> Choice:
    if cluster.jobs:
        raise ClusterError(
            f"{cluster.source} and a TPU exclude each other: TPUStrategy is one program that drives all "
            f"cores, even of a pod. Received: TPU {tpu!r} and {cluster}; "
            f"{alone.without(cluster.source)}, or choose another --strategy."
        )
    source = "a flag asks" if from_flag else "the environment asks"
    return Choice("tpu", f"{source} for the TPU {tpu!r}", tpu)


def transport_of(wanted: str, on_cpu: bool) -> str:
    """What the flag `--transport` means for workers on CPUs, or on GPUs."""
    if wanted != "auto":
        return wanted
    return "direct" if on_cpu else "tensorflow"


def with_transport(choice: Choice, wanted: str, devices: list[str]) -> Choice:
    """The choice with the transport by which workers with these local devices exchange gradients.

    Args:
      choice: any; most strategies have no transport.
      wanted: the flag `--transport`, one of TRANSPORTS.
      devices: names of the CPU or of GPUs.

    Raises:
      ClusterError: the strategy has no transport, or the devices cannot use the one wanted.
    """
    if not choice.traits.has_transport:
        if wanted != "auto":
            raise ClusterError(
                f"`--transport` is for workers that exchange gradients. Received: {wanted!r} with "
                f"{choice.strategy}; leave it out."
            )
        return choice
    on_cpu = devices[0].startswith("CPU")
    transport = transport_of(wanted, on_cpu)
    if transport == "direct" and len(devices) > 1 and not on_cpu:
        raise ClusterError(
            "`--transport=direct` takes one GPU per worker. Received: "
            f"{len(devices)} GPUs; leave it out, or give --devices=1."
        )
    if transport == "tensorflow" and len(devices) > 1 and on_cpu:
        raise ClusterError(
            "`--devices` must be 1 where several workers train on CPUs through TensorFlow, which "
            f"takes one CPU device per worker. Received: {len(devices)}; leave out --transport."
        )
    return dataclasses.replace(choice, transport=transport)


def with_mesh(choice: Choice, wanted: str, cluster: ClusterSpec, devices: list[str]) -> Choice:
    """The choice with the arrangement of workers that hold parts of the model.

    A single task computes all parts, so that it has none.

    Args:
      choice: any, with its transport and its agreement.
      wanted: the flag `--mesh`; empty: none.
      cluster: whose workers are arranged.
      devices: the local ones.

    Raises:
      ClusterError: the flag is malformed, does not fit the workers, or the strategy has no mesh.
    """
    if not wanted:
        return choice
    shape = mesh_shape.parse(wanted, len(cluster.trainers()))
    reason = ""
    if choice.traits.one_worker_per_step or choice.strategy == "tpu":
        reason = f"is for workers and for a single process, not for {choice.strategy}"
    elif choice.agreement.trains_apart:
        reason = (
            f"is for replicas that agree in every step, not for `sync.mode` {choice.agreement.mode}"
        )
    elif choice.transport == "tensorflow":
        reason = "needs --transport=direct, with one GPU per worker"
    elif len(cluster.trainers()) > 1 and len(devices) > 1:
        reason = f"takes one device per worker, not {len(devices)}"
    if reason:
        raise ClusterError(
            f"`--mesh` {reason}. Received: {wanted!r}; leave it out, or change that."
        )
    if len(cluster.trainers()) == 1:
        return choice
    return dataclasses.replace(
        choice,
        mesh=shape,
        reason=f"the flag --mesh arranges {len(cluster.trainers())} workers as {shape}: "
        f"{_count(shape.data, 'group')} with a share of each batch, and in each "
        f"{_count(shape.model, 'part')} of the model",
    )
