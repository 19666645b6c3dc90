"""How are trials run on this machine?

`LocalTrials` runs them in slots, which divide the machine's cores and GPUs evenly.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from strategies.devices import gpus
from trainer.cli.options import TuneOptions
from trainer.cli.parser import parse_trainer_args
from trainer.process import console
from trainer.process.signals import StopRequest
from trainer.process.start.starter import Starter
from trainer.task import PRELOAD
from trainer.tune.machines.role import SweepCluster
from trainer.tune.search.trial_source import TrialSource
from trainer.tune.trials.folder import TRIALS
from trainer.tune.trials.runner import Runner
from trainer.tune.trials.slots import Slot, make_slots
from trainer.tune.trials.trial import Limits

STARTUP_S = 60.0  # For a trial's process to print its first line, on a busy machine.


def local_slots(options: TuneOptions, cluster: SweepCluster) -> list[Slot]:
    """The slots of this machine; none if it runs no trials.

    Raises:
      ConfigError: the machine has too few GPUs for them.
    """
    if not cluster.runs_trials:
        return []
    return make_slots(
        options.parallel_trials,
        sorted(os.sched_getaffinity(0)),
        gpus.visible(os.environ),
        options.workers_per_trial,
        cluster.name,
    )


class LocalTrials:
    """Runs trials on this machine, in folders below `folder`."""

    def __init__(
        self,
        options: TuneOptions,
        folder: pathlib.Path,
        slots: Sequence[Slot],
        stop: StopRequest,
    ):
        """Starts the process from which trials are forked, which takes seconds, in the background."""
        self.folder, self.stop = folder, stop
        self._options, self._slots = options, slots
        self._starter = Starter((PRELOAD,) if slots and options.warm else None, _report)

    def run(
        self,
        source: TrialSource,
        on_poll: Callable[[], None],
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        """Runs trials from `source` until there are none left, or a stop is requested.

        Args:
          source: where the trials come from.
          on_poll: called several times per second.
          overrides: config fields that have another value on this machine, as texts.

        Raises:
          WorkdirError: a trial's folder cannot be written.
          Resumable: the sweep's server is lost.
        """
        options = self._options
        limits = Limits(
            options.max_restarts,
            options.max_trial_s,
            parse_trainer_args(options.trainer_args).startup_timeout_s + STARTUP_S,
            options.grace_s,
        )
        config_args = (f"--config.{name}={text}" for name, text in (overrides or {}).items())
        args = *options.trainer_args, *config_args
        runner = Runner(
            source, self.folder / TRIALS, self._slots, args, limits, self._starter, on_poll
        )
        runner.run(lambda: self.stop.requested)


def _report(message: str) -> None:
    console.print_line(f"tune: {message}")
