"""How does one trial go on this machine, through all its starts?

A run that was killed or lost a peer is started again from its checkpoint; one that failed is told as
such.
"""

import dataclasses
import json
import pathlib
import signal
import time
from collections.abc import Iterator, Sequence

from strategies.errors import EXIT_DONE, EXIT_RESUME
from trainer.config import load as config_load
from trainer.launch.restarts import RestartBudget
from trainer.tune.search.record import FAILED, STOPPED
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec
from trainer.tune.trials.folder import TrialFolder
from trainer.tune.trials.process import TrialProcess
from trainer.tune.trials.slots import Slot

# What multiprocessing says of a process whose fork server was killed, and so it too.
_UNKNOWN = 255
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


class Trial:
    """Its `process` is that of the start under way; None before the first, and between two."""

    def __init__(
        self,
        assignment: TrialSpec,
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
        self._budget = RestartBudget(limits.max_restarts)
        self._seconds_before = 0.0
        self._start_at = 0.0
        self._is_hopeless = False
        self._latest = Progress(0, 0.0, {})
        self._began_at = 0.0
        self._silent_log = 0  # Bytes in its log when it was started.
        config = config_load.from_json(json.dumps(assignment.config))
        self._folder.prepare(config, assignment.continues)
        args = [f"--config={self._folder.workdir.config}", f"--workdir={self._folder.path}"]
        self._argv = command([*args, *trainer_args], assignment.flags)

    @property
    def seconds(self) -> float:
        return self._seconds_before + (self.process.seconds if self.process else 0.0)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.code is None

    def read_progress(self) -> Iterator[Progress]:
        for progress in self._folder.read_progress():
            self._latest = progress
            self._budget.renew()
            yield progress

    def give_up(self) -> None:
        self._is_hopeless = True
        self.ask_to_stop()

    def ask_to_stop(self) -> None:
        if self.is_running:
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
        record = self.process.record
        return self._failed(how(code, record.message if record else "", self._folder.last_line()))

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


def how(code: int, message: str, last_line: str) -> str:
    """What went wrong with a process that ended so."""
    if code >= 0:
        return message or last_line or f"it ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", as when memory runs out" if code == -signal.SIGKILL else ""
    return f"it was killed by {name}{hint}; last it said: {last_line}"
