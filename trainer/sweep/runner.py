"""How does one machine run the trials that it is given?

One loop looks after all slots: it starts trials, tells what they report, and settles how they ended. A
trial that was killed or lost a peer is started again from its checkpoint; one that failed is told as
such, and the next begins.
"""

import dataclasses
import functools
import json
import pathlib
import signal
import time
from collections.abc import Callable, Sequence

from strategies.errors import EXIT_DONE, EXIT_RESUME
from trainer import config as config_lib
from trainer.restarts import Budget
from trainer.sweep import trial_process
from trainer.sweep.assignment import Assignment, Outcome, Progress, Source
from trainer.sweep.record import FAILED, STOPPED
from trainer.sweep.slots import Slot
from trainer.sweep.trial_folder import TrialFolder
from trainer.sweep.trial_process import TrialProcess

_LOOK_EVERY_S = 0.2
_UNKNOWN = (
    255  # What multiprocessing says of a process whose fork server was killed, and so it too.
)
_RESUMABLE = (EXIT_RESUME, -signal.SIGKILL, -signal.SIGTERM, _UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How often a trial is started again without progress, and how long it may take, in seconds.

    `trial_s` is for the whole of it, 0 for no end; `first_word_s` until it says anything, after which it
    watches itself; `grace_s` from being asked to stop to being killed.
    """

    max_restarts: int
    trial_s: float
    first_word_s: float
    grace_s: float


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
        source: Source,
        folder: pathlib.Path,
        slots: Sequence[Slot],
        trainer_args: Sequence[str],
        limits: Limits,
        on_look: Callable[[], None],
    ):
        self._source, self._folder, self._limits = source, folder, limits
        self._trainer_args, self._on_look = trainer_args, on_look
        self._free = list(slots)
        self._trials: list[_Trial] = []

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
            make = functools.partial(_Trial, assignment, self._folder, self._free[0])
            self._trials.append(make(self._trainer_args, self._limits))
            del self._free[0]

    def _settle(self) -> None:
        for trial in [*self._trials]:
            for progress in trial.read_progress():
                if self._source.note(trial.id, progress):
                    trial.give_up()
            if outcome := trial.look():
                self._source.tell(trial.id, outcome)
                self._release(trial)

    def _release(self, trial: "_Trial") -> None:
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


class _Trial:
    """A trial on this machine, through all its starts."""

    def __init__(
        self,
        assignment: Assignment,
        folder: pathlib.Path,
        slot: Slot,
        trainer_args: Sequence[str],
        limits: Limits,
    ):
        self.id = assignment.id
        self.slot = slot
        self.process: TrialProcess | None = None
        self._limits = limits
        self._folder = TrialFolder(folder, assignment.id)
        self._budget = Budget(limits.max_restarts)
        self._seconds_before = 0.0
        self._start_at = 0.0
        self._is_hopeless = False
        self._latest = Progress(0, 0.0, {})
        self._began_at = 0.0
        self._silent_log = 0  # Bytes in its log when it was started.
        config = config_lib.from_json(json.dumps(assignment.config))
        self._folder.prepare(config, assignment.continues)
        args = [f"--config={self._folder.workdir.config}", f"--workdir={self._folder.path}"]
        self._argv = command([*args, *trainer_args], assignment.flags)

    @property
    def seconds(self) -> float:
        return self._seconds_before + (self.process.seconds if self.process else 0.0)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.code is None

    def read_progress(self):
        for progress in self._folder.read_progress():
            self._latest = progress
            self._budget.renew()
            yield progress

    def give_up(self) -> None:
        self._is_hopeless = True
        self.ask_to_stop()

    def ask_to_stop(self) -> None:
        if self.process:
            self.process.ask_to_stop()

    def kill(self) -> None:
        if self.is_running:
            self.process.kill()

    def completed(self) -> Outcome | None:
        return self._folder.completed(self.seconds)

    def look(self) -> Outcome | None:
        """Starts what is due, ends what takes too long, and tells how the trial ended, if it has."""
        now = time.monotonic()
        if self.process is None:
            if outcome := self.completed():
                return outcome  # Before the sweep was killed, which could not write it down.
            if now >= self._start_at:
                self._began_at, self._silent_log = now, self._folder.log_size()
                self.process = TrialProcess(self._argv, self.slot, self._folder.log)
            return None
        if self.process.code is None:
            return self._check_time(now)
        return self._ended(self.process.code)

    def _check_time(self, now: float) -> Outcome | None:
        limits = self._limits
        if limits.trial_s and self.seconds > limits.trial_s:
            return self._failed(f"it took longer than --max_trial_s={limits.trial_s:g}")
        is_silent = self._folder.log_size() == self._silent_log
        if is_silent and now - self._began_at > limits.first_word_s:
            self.process.kill()  # It is then started again, like any that was killed.
        return None

    def _ended(self, code: int) -> Outcome | None:
        if code == EXIT_DONE and (outcome := self.completed()):
            return outcome
        if self._is_hopeless:
            latest = self._latest
            return Outcome(STOPPED, latest.metrics, latest.step, latest.epoch, seconds=self.seconds)
        if code in _RESUMABLE and self._budget.spend():
            self._seconds_before += self.process.seconds
            self._start_at = time.monotonic() + self._budget.pause_s
            self.process = None
            return None
        return self._failed(_how(code, self._folder.last_words()))

    def _failed(self, error: str) -> Outcome:
        self.kill()
        latest = self._latest
        return Outcome(FAILED, latest.metrics, latest.step, latest.epoch, error, self.seconds)


def command(args: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The trainer's command line for a trial: `launch` where its flags ask for a cluster."""
    given = dict(flag.split("=", 1) for flag in flags)
    shape = {name: given.pop(name) for name in ("--workers", "--ps") if name in given}
    each = given.pop("--devices_per_worker", "1")
    own = [*args, *(f"{name}={value}" for name, value in given.items())]
    if shape.get("--workers", "1") == "1" and shape.get("--ps", "0") == "0":
        return own if each == "1" else [*own, f"--devices={each}"]
    shape = {"--workers": "1", **shape, "--devices_per_worker": each}
    return ["launch", *(f"{name}={value}" for name, value in shape.items()), "--", *own]


def _how(code: int, last_words: str) -> str:
    if code >= 0:
        return last_words or f"it ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", as when memory runs out" if code == -signal.SIGKILL else ""
    return f"it was killed by {name}{hint}; last it said: {last_words}"
