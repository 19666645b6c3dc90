"""How does one machine run the trials that it is assigned?

`Runner` polls all slots in one loop: it starts trials, reports their progress and how they ended, and
starts the next ones.
"""

import pathlib
import time
from collections.abc import Callable, Sequence

from trainer.process.start.starter import Starter
from trainer.tune.search.trial_source import TrialSource
from trainer.tune.trials.process import wait_for_exit
from trainer.tune.trials.slots import Slot
from trainer.tune.trials.trial import Limits, Trial

_POLL_INTERVAL_S = 0.2


class Runner:
    """Runs trials from `source` in `slots` until there are none left, or a stop is requested.

    Args:
      source: where the trials come from.
      folder: contains the trials' folders.
      slots: one trial at a time runs in each, on its share of the machine.
      trainer_args: flags of train for every trial.
      limits: those of every trial.
      starter: starts the trials' processes.
      on_poll: called several times per second.
    """

    def __init__(
        self,
        source: TrialSource,
        folder: pathlib.Path,
        slots: Sequence[Slot],
        trainer_args: Sequence[str],
        limits: Limits,
        starter: Starter,
        on_poll: Callable[[], None],
    ):
        self._source, self._folder, self._limits = source, folder, limits
        self._starter = starter
        self._trainer_args, self._on_poll = trainer_args, on_poll
        self._free_slots = list(slots)
        self._trials: list[Trial] = []

    def run(self, stop_requested: Callable[[], bool]) -> None:
        """Returns when the sweep has finished, or after a stop, when all trials here are requeued.

        At a stop each trial may save a checkpoint within the grace period.

        Raises:
          WorkdirError: a trial's folder cannot be written.
          Resumable: the sweep's server is lost.
        """
        try:
            while not stop_requested():
                self._poll_trials()
                self._start_trials()
                if not self._trials and self._source.is_finished:
                    return
                self._on_poll()
                self._wait()
        finally:
            self._stop_all()
        self._requeue_all()

    def _wait(self) -> None:
        running = [trial.process for trial in self._trials if trial.process]
        wait_for_exit(running, _POLL_INTERVAL_S)

    def _start_trials(self) -> None:
        while self._free_slots and (spec := self._source.ask(self._free_slots[0].name)):
            slot = self._free_slots[0]
            self._trials.append(
                Trial(spec, self._folder, slot, self._trainer_args, self._limits, self._starter)
            )
            self._free_slots.remove(slot)

    def _poll_trials(self) -> None:
        for trial in [*self._trials]:
            for progress in trial.read_progress():
                if self._source.report(trial.id, progress):
                    trial.stop_early()
            if outcome := trial.poll():
                self._source.tell(trial.id, outcome)
                self._free_slot_of(trial)

    def _free_slot_of(self, trial: Trial) -> None:
        self._trials.remove(trial)
        self._free_slots.append(trial.slot)
        self._free_slots.sort(key=lambda slot: slot.name)

    def _stop_all(self) -> None:
        for trial in self._trials:
            trial.terminate()
        deadline = time.monotonic() + self._limits.grace_s
        while any(trial.is_running for trial in self._trials) and time.monotonic() < deadline:
            self._wait()
        for trial in self._trials:
            trial.kill()

    def _requeue_all(self) -> None:
        for trial in [*self._trials]:
            if outcome := trial.completed():  # It completed while it was being stopped.
                self._source.tell(trial.id, outcome)
            else:
                self._source.requeue(trial.id, trial.seconds)
            self._free_slot_of(trial)
