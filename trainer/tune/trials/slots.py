"""Which cores and GPUs does each of the trials at a time have?

They are shared out evenly, and no two trials have one in common while there are enough: trials that all
took all would wait for one another.
"""

import dataclasses
from collections.abc import Sequence

from trainer.config.fields import ConfigError


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place in which one trial after another runs. `gpus` is None on a machine without any."""

    name: str
    cores: tuple[int, ...]
    gpus: tuple[str, ...] | None = None


def share(
    count: int, cores: Sequence[int], gpus: Sequence[str], gpus_each: int, machine: str = ""
) -> list[Slot]:
    """So many slots, each with as many of this machine's cores and GPUs as the others.

    What does not divide stays unused: with another number of cores a trial can differ in its last bits.

    Raises:
      ConfigError: there are GPUs, but too few for `gpus_each` in each slot.
    """
    if gpus and len(gpus) < count * gpus_each:
        raise ConfigError(
            f"`--parallel_trials` asks for more GPUs than the {len(gpus)} of this machine. Received: "
            f"{count} trials of {gpus_each} each; lower it or `--workers_per_trial`, or set "
            'CUDA_VISIBLE_DEVICES="-1" to train on the CPU.'
        )
    return [
        Slot(
            f"{machine}/{place}" if machine else str(place),
            tuple(_part(cores, place, count)) or (cores[place % len(cores)],),
            tuple(_part(gpus, place, count)) if gpus else None,
        )
        for place in range(count)
    ]


def _part(things: Sequence, place: int, count: int) -> Sequence:
    each = len(things) // count
    return things[place * each : (place + 1) * each]
