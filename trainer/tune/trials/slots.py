"""Which cores and GPUs does each concurrent trial have?

`make_slots` divides them evenly. No two trials share a core or a GPU as long as there are enough, as
trials that all used all cores would wait for each other.
"""

import dataclasses
from collections.abc import Sequence

from trainer.config.fields import ConfigError


@dataclasses.dataclass(frozen=True)
class Slot:
    """A share of this machine in which one trial at a time runs.

    Attributes:
      name: the slot's number, after the machine's name if it has one: "worker-1/0".
      cores: numbers of CPU cores.
      gpus: entries for CUDA_VISIBLE_DEVICES; None on a machine without GPUs.
    """

    name: str
    cores: tuple[int, ...]
    gpus: tuple[str, ...] | None = None


def make_slots(
    count: int, cores: Sequence[int], gpus: Sequence[str], min_gpus: int, machine: str = ""
) -> list[Slot]:
    """Makes `count` slots, each with the same number of this machine's cores and GPUs.

    A remainder stays unused, as with another number of cores a trial can differ in its last bits.

    Raises:
      ConfigError: there are GPUs, but fewer than `min_gpus` per slot.
    """
    if gpus and len(gpus) < count * min_gpus:
        raise ConfigError(
            f"`--parallel_trials` asks for more GPUs than the {len(gpus)} of this machine. Received: "
            f"{count} trials of {min_gpus} each; lower it or `--workers_per_trial`, or set "
            'CUDA_VISIBLE_DEVICES="-1" to train on the CPU.'
        )
    return [
        Slot(
            f"{machine}/{index}" if machine else str(index),
            tuple(_share(cores, index, count)) or (cores[index % len(cores)],),
            tuple(_share(gpus, index, count)) if gpus else None,
        )
        for index in range(count)
    ]


def _share(items: Sequence, index: int, count: int) -> Sequence:
    size = len(items) // count
    return items[index * size : (index + 1) * size]
