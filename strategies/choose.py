"""How will this cluster's replicas work together, and why so?

`choose` decides from values alone, without TensorFlow, so a wrong start costs milliseconds. `create.py`
then makes the runtime.
"""

import dataclasses
import os
from collections.abc import Mapping

from strategies.cluster import slurm
from strategies.cluster.spec import TF_CONFIG, ClusterSpec
from strategies.errors import ClusterError

STRATEGIES = ("auto", "mirrored", "multi_worker", "parameter_server", "tpu")
TRANSPORTS = ("auto", "direct", "tensorflow")
LAUNCH = "start one with `python -m trainer launch --workers=2"


@dataclasses.dataclass(frozen=True)
class Choice:
    """The name of a strategy, and in one sentence why it was chosen."""

    strategy: str
    reason: str
    tpu: str = ""
    tpu_timeout_s: float = 120.0  # To find out where a TPU is that is named.
    transport: str = ""  # Between workers: one of TRANSPORTS but auto. Empty where there are none.

    @property
    def transport_description(self) -> str:
        """The transport in words."""
        return {
            "direct": "over the workers' own connections, which on CPUs cost the least",
            "tensorflow": "through TensorFlow's collectives, as GPUs need",
        }[self.transport]

    @property
    def starts_servers(self) -> bool:
        """Whether TensorFlow's servers will run, whose start can leave the process deaf."""
        return self.strategy == "parameter_server" or self.transport == "tensorflow"

    @property
    def sync_mode(self) -> str:
        """What its replicas exchange unless the config says otherwise."""
        return "async" if self.strategy == "parameter_server" else "gradients"


def tpu_from_env(environ: Mapping[str, str] = os.environ) -> str:
    """The TPU that the environment names, "local" where it names only a kind, or ""."""
    for name in ("KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_NAME"):
        if environ.get(name):
            return environ[name]
    return "local" if environ.get("TPU_CONFIG") else ""


def choose(
    cluster: ClusterSpec,
    wanted: str = "auto",
    tpu: str = "",
    tpu_in_env: str = "",
    startup_timeout_s: float = 120.0,
) -> Choice:
    """The strategy for a cluster.

    Args:
      cluster: from wherever it was said.
      wanted: the flag `--strategy`, one of STRATEGIES.
      tpu: the flag `--tpu`.
      tpu_in_env: `tpu_from_env()`. An explicit `--strategy` overrides it.
      startup_timeout_s: the flag of that name.

    Raises:
      ClusterError: the flags contradict the cluster or each other.
    """
    if wanted not in STRATEGIES:
        raise ClusterError(
            f"`--strategy` must be one of {', '.join(STRATEGIES)}. Received: {wanted!r}."
        )
    if tpu and wanted not in ("auto", "tpu"):
        raise ClusterError(
            f"`--tpu` and `--strategy={wanted}` contradict each other. Received: {tpu!r}; leave one out."
        )
    if wanted == "tpu" or tpu or (tpu_in_env and wanted == "auto"):
        found = _tpu(cluster, tpu or tpu_in_env or "local", bool(wanted == "tpu" or tpu))
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
    """The flag's strategy where the cluster can run it too."""
    if wanted == "multi_worker" and cluster.jobs and cluster.is_single_task:
        return Choice(
            "multi_worker", f"the flag --strategy asks for it; {cluster.source} names one task"
        )
    way_out = {
        "mirrored": f"{_without(cluster)} to train on this machine alone, or leave the flag out",
        "multi_worker": f"{cluster.source} must list several workers and no `ps`; {LAUNCH}`",
        "parameter_server": f"{cluster.source} must list `chief`, `worker` and `ps`; {LAUNCH} --ps=1`",
    }[wanted]
    raise ClusterError(
        f"`--strategy={wanted}` contradicts {cluster.source}, which asks for {found.strategy}: "
        f"{found.reason}. Received: {cluster}; {way_out}."
    )


def _without(cluster: ClusterSpec) -> str:
    """How to be alone after all."""
    return {TF_CONFIG: "unset TF_CONFIG", slurm.SOURCE: "set TF_CONFIG={}"}.get(
        cluster.source, f"leave {cluster.source} out"
    )


def _tpu(cluster: ClusterSpec, tpu: str, from_flag: bool) -> Choice:
    if cluster.jobs:
        raise ClusterError(
            f"{cluster.source} and a TPU exclude each other: TPUStrategy is one program that drives all "
            f"cores, even of a pod. Received: TPU {tpu!r} and {cluster}; {_without(cluster)}, or choose "
            "another --strategy."
        )
    source = "a flag asks" if from_flag else "the environment asks"
    return Choice("tpu", f"{source} for the TPU {tpu!r}", tpu)


def with_transport(choice: Choice, wanted: str, devices: list[str]) -> Choice:
    """The choice with the way by which workers on these local devices exchange gradients.

    Args:
      choice: any; only workers without parameter servers have such a way.
      wanted: the flag `--transport`, one of TRANSPORTS.
      devices: names, the CPU's or the GPUs'.

    Raises:
      ClusterError: the strategy has no such way, or the devices cannot take it.
    """
    if choice.strategy != "multi_worker":
        if wanted != "auto":
            raise ClusterError(
                f"`--transport` is for workers that exchange gradients. Received: {wanted!r} with "
                f"{choice.strategy}; leave it out."
            )
        return choice
    on_cpu = devices[0].startswith("CPU")
    transport = wanted if wanted != "auto" else "direct" if on_cpu else "tensorflow"
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
