"""How are trials run on this machine?"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from strategies.devices import gpus
from trainer.cli.options import TuneOptions
from trainer.cli.parser import parse
from trainer.process.signals import StopRequest
from trainer.tune.machines.role import SweepCluster
from trainer.tune.search.trial_source import TrialSource
from trainer.tune.trials.runner import Runner
from trainer.tune.trials.slots import Slot, share
from trainer.tune.trials.trial import Limits

START_S = 60.0  # For a trial's process to say its first word, on a busy machine.


def own_slots(options: TuneOptions, cluster: SweepCluster) -> list[Slot]:
    return share(
        options.parallel_trials,
        sorted(os.sched_getaffinity(0)),
        gpus.visible(os.environ),
        options.workers_per_trial,
        cluster.name,
    )


def run_trials(
    options: TuneOptions,
    source: TrialSource,
    folder: pathlib.Path,
    slots: Sequence[Slot],
    stop: StopRequest,
    own: Mapping[str, str],
    on_look: Callable[[], None],
) -> None:
    train = parse(options.trainer_args)
    limits = Limits(
        options.max_restarts,
        options.max_trial_s,
        train.startup_timeout_s + START_S,
        options.grace_s,
    )
    args = *options.trainer_args, *(f"--config.{name}={value}" for name, value in own.items())
    runner = Runner(source, folder / "trials", slots, args, limits, on_look)
    runner.run(lambda: stop.requested)
