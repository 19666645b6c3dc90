"""How does one machine run the trials that it is given?

One loop looks after all slots: it starts trials, tells what they report and how they ended, and begins
the next.
"""

import pathlib
import time
from collections.abc import Callable, Sequence

from trainer.tune.search.trial_source import TrialSource
from trainer.tune.trials import process as trial_process
from trainer.tune.trials.slots import Slot
from trainer.tune.trials.trial import Limits, Trial

_LOOK_EVERY_S = 0.2


class Runner:
    """Runs trials from `source` in `slots` until there are no more, or a stop is asked for.

    Args:
      source: where the trials come from.
      folder: of the trials' folders.
      slots: where they run, each on its share of the machine.
      trainer_args: flags of train for every trial.
      limits: see there.
      on_look: called several times a second.
    """

    def __init__(
        self,
        source: TrialSource,
        folder: pathlib.Path,
        slots: Sequence[Slot],
        trainer_args: Sequence[str],
        limits: Limits,
        on_look: Callable[[], None],
    ):
        self._source, self._folder, self._limits = source, folder, limits
        self._trainer_args, self._on_look = trainer_args, on_look
        self._free = list(slots)
        self._trials: list[Trial] = []

    def run(self, stop_requested: Callable[[], bool]) -> None:
        """Returns when the sweep is over, or every trial here has saved, stopped and is given back.

        Raises:
          WorkdirError: a trial's folder cannot be written.
          Resumable: the source is out of reach.
        """
        try:
            while not stop_requested():
                self._settle()
                self._start()
                if not self._trials and self._source.is_over:
                    return
                self._on_look()
                self._wait()
        finally:
            self._end_all()
        self._hand_back()

    def _wait(self) -> None:
        running = [trial.process for trial in self._trials if trial.process]
        trial_process.wait_for_end(running, _LOOK_EVERY_S)

    def _start(self) -> None:
        while self._free and (assignment := self._source.ask(self._free[0].name)):
            slot, args = self._free[0], self._trainer_args
            self._trials.append(Trial(assignment, self._folder, slot, args, self._limits))
            self._free.remove(slot)

    def _settle(self) -> None:
        for trial in [*self._trials]:
            for progress in trial.read_progress():
                if self._source.note(trial.id, progress):
                    trial.give_up()
            if outcome := trial.look():
                self._source.tell(trial.id, outcome)
                self._release(trial)

    def _release(self, trial: Trial) -> None:
        self._trials.remove(trial)
        self._free.append(trial.slot)
        self._free.sort(key=lambda slot: slot.name)

    def _end_all(self) -> None:
        for trial in self._trials:
            trial.ask_to_stop()
        deadline = time.monotonic() + self._limits.grace_s
        while any(trial.is_running for trial in self._trials) and time.monotonic() < deadline:
            self._wait()
        for trial in self._trials:
            trial.kill()

    def _hand_back(self) -> None:
        for trial in [*self._trials]:
            if outcome := trial.completed():  # It came to its end just now.
                self._source.tell(trial.id, outcome)
            else:
                self._source.give_back(trial.id, trial.seconds)
            self._release(trial)
