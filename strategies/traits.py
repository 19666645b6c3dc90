"""What must be known about a strategy before its runtime exists? `TRAITS` has one row per strategy.

Code that all strategies share asks a `Choice`, which reads its row here, and never compares a strategy's
name. A new strategy is a row here, a row in the table of runtimes, and a file with its `Runtime`.
"""

import dataclasses
import enum

from strategies.sync.names import APART, EVERY_STEP, ON_SERVERS

LAUNCH = "start one with `python -m trainer launch --workers=2"


class DeviceSource(enum.Enum):
    """Where a task's replica devices come from."""

    LOCAL = "the GPUs of this machine, or its CPU"
    SERVER = "whatever the task's TensorFlow server finds"
    TPU = "all cores of a TPU"


class SlotHolder(enum.Enum):
    """Who holds the slots of the optimizer."""

    DEVICES = "devices each hold all of the optimizer's state, unless workers divide it"
    SERVERS = "the parameter servers hold the optimizer's state in parts already"
    CORES = "cores each hold all of the optimizer's state"


@dataclasses.dataclass(frozen=True)
class StrategyTraits:
    """How a strategy differs from training on the devices of one machine."""

    sync_modes: tuple[str, ...] = (*EVERY_STEP, *APART)
    """How its replicas may agree (`sync/`); the first is the default."""

    devices: DeviceSource = DeviceSource.LOCAL

    slots: SlotHolder = SlotHolder.DEVICES
    """Who holds the slots of the optimizer; workers divide them with the transport direct."""

    has_transport: bool = False
    """Its workers exchange gradients, and `--transport` chooses how."""

    starts_servers: bool = False
    """It starts TensorFlow's servers with every transport."""

    leader_coordinates: bool = False
    """Only the leader loads data and runs the training loop; the other tasks serve it."""

    one_worker_per_step: bool = False
    """A worker takes a whole global batch, so batches are not split among replicas."""

    adds_within_step: bool = True
    """Its replicas can add numbers within a step, where they share a device or the transport does it."""

    survives_worker_loss: bool = False
    """The other workers take over the work of one that was lost."""

    evaluates_checkpoints: bool = False
    """Its own runtime evaluates checkpoints; otherwise the devices of one machine do."""

    fix: str = "leave the flag out"
    """What to do where the cluster does not fit; `{source}` and `{without}` are the cluster's."""


TRAITS = {
    "mirrored": StrategyTraits(
        fix="{without} to train on this machine only, or leave the flag out",
    ),
    "multi_worker": StrategyTraits(
        has_transport=True,
        fix=f"{{source}} must list several workers and no `ps`; {LAUNCH}`",
    ),
    "parameter_server": StrategyTraits(
        sync_modes=ON_SERVERS,
        devices=DeviceSource.SERVER,
        slots=SlotHolder.SERVERS,
        starts_servers=True,
        leader_coordinates=True,
        one_worker_per_step=True,
        survives_worker_loss=True,
        fix=f"{{source}} must list `chief`, `worker` and `ps`; {LAUNCH} --ps=1`",
    ),
    "tpu": StrategyTraits(
        sync_modes=EVERY_STEP,
        devices=DeviceSource.TPU,
        slots=SlotHolder.CORES,
        adds_within_step=False,
        evaluates_checkpoints=True,
    ),
}
