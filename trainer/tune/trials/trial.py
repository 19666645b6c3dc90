"""How does one trial run on this machine, through all its starts?

`Trial` starts a run that was killed, or that lost a peer, again from its checkpoint. A run that fails
ends the trial as failed.
"""

import dataclasses
import json
import pathlib
import signal
import time
from collections.abc import Iterator, Sequence

from strategies.errors import EXIT_DONE, EXIT_RESUME, os_reason
from trainer.config.load import from_json
from trainer.launch.restarts import RestartBudget
from trainer.process.start.starter import Starter
from trainer.tune.search.record import FAILED, STOPPED
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec
from trainer.tune.trials.folder import TrialFolder
from trainer.tune.trials.process import TrialProcess
from trainer.tune.trials.slots import Slot

_RESUMABLE = (EXIT_RESUME, -signal.SIGKILL, -signal.SIGTERM)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of every trial.

    Attributes:
      max_restarts: how often a trial is started again without progress.
      trial_s: seconds after which a trial fails; 0 for no limit.
      first_output_s: seconds until a started run must print something. After that it watches itself.
      grace_s: seconds between SIGTERM and SIGKILL.
    """

    max_restarts: int
    trial_s: float
    first_output_s: float
    grace_s: float


class Trial:
    """A trial in a slot. `process` is its current start; None before the first and between two."""

    def __init__(
        self,
        spec: TrialSpec,
        folder: pathlib.Path,
        slot: Slot,
        trainer_args: Sequence[str],
        limits: Limits,
        starter: Starter,
    ):
        self.id = spec.id
        self.slot = slot
        self.process: TrialProcess | None = None
        self._limits = limits
        self._starter = starter
        self._folder = TrialFolder(folder, spec.id)
        self._restart_budget = RestartBudget(limits.max_restarts)
        self._seconds_before = 0.0  # Spent in earlier starts.
        self._start_at = 0.0
        self._was_stopped_early = False
        self._latest = Progress(0, 0.0, {})
        self._started_at = 0.0
        self._log_size_at_start = 0
        config = from_json(json.dumps(spec.config))
        self._folder.prepare(config, spec.continues)
        # A report takes longer than some trials' steps; a flag after `--` asks for one all the same.
        args = ["--report=false", f"--config={self._folder.workdir.config}"]
        args.append(f"--workdir={self._folder.path}")
        self._argv = command([*args, *trainer_args], spec.flags, starter.is_warm)

    @property
    def seconds(self) -> float:
        """The time spent in all starts."""
        return self._seconds_before + (self.process.seconds if self.process else 0.0)

    @property
    def is_running(self) -> bool:
        return self._running_process is not None

    @property
    def _running_process(self) -> TrialProcess | None:
        return self.process if self.process and self.process.returncode is None else None

    def read_progress(self) -> Iterator[Progress]:
        """Yields what the run has reported since the last call."""
        for progress in self._folder.read_progress():
            self._latest = progress
            self._restart_budget.renew()
            yield progress

    def stop_early(self) -> None:
        """Terminates the run. The trial's outcome will be STOPPED, with its newest metrics."""
        self._was_stopped_early = True
        self.terminate()

    def terminate(self) -> None:
        """Sends SIGTERM, so that the run saves a checkpoint and exits."""
        if self.process:
            self.process.ask_to_stop()

    def kill(self) -> None:
        if process := self._running_process:
            process.kill()

    def completed(self) -> Outcome | None:
        """The outcome, if the run has written its summary."""
        return self._folder.completed(self.seconds)

    def poll(self) -> Outcome | None:
        """Starts the run if it is due and enforces the limits. Returns how the trial ended, if it has."""
        now = time.monotonic()
        if self.process is None:
            if outcome := self.completed():
                return outcome  # It completed just before the sweep was killed.
            if now >= self._start_at:
                self._started_at, self._log_size_at_start = now, self._folder.log_size()
                return self._start()
            return None
        if self.process.returncode is None:
            return self._check_time(self.process, now)
        return self._handle_exit(self.process, self.process.returncode)

    def _start(self) -> Outcome | None:
        try:
            self.process = TrialProcess(self._starter, self._argv, self.slot, self._folder.log)
        except OSError as error:
            return self._failed(f"it could not be started: {os_reason(error)}")
        return None

    def _check_time(self, process: TrialProcess, now: float) -> Outcome | None:
        limits = self._limits
        if limits.trial_s and self.seconds > limits.trial_s:
            return self._failed(f"it took longer than --max_trial_s={limits.trial_s:g}")
        is_silent = self._folder.log_size() == self._log_size_at_start
        if is_silent and now - self._started_at > limits.first_output_s:
            process.kill()  # It will be started again, as any run that was killed.
        return None

    def _handle_exit(self, process: TrialProcess, code: int) -> Outcome | None:
        if code == EXIT_DONE and (outcome := self.completed()):
            return outcome
        if self._was_stopped_early:
            latest = self._latest
            return Outcome(STOPPED, latest.metrics, latest.step, latest.epoch, seconds=self.seconds)
        if code in _RESUMABLE and self._restart_budget.spend():
            self._seconds_before += process.seconds
            self._start_at = time.monotonic() + self._restart_budget.pause_s
            self.process = None
            return None
        record = process.record
        return self._failed(
            exit_reason(code, record.message if record else "", self._folder.last_line())
        )

    def _failed(self, error: str) -> Outcome:
        self.kill()
        latest = self._latest
        return Outcome(FAILED, latest.metrics, latest.step, latest.epoch, error, self.seconds)


def command(args: Sequence[str], flags: Sequence[str], is_warm: bool = True) -> list[str]:
    """The trainer's command line for a trial. It begins with `launch` if the flags ask for a cluster.

    Args:
      args: flags of train for every trial.
      flags: flags of launch and train for this trial.
      is_warm: whether its tasks, too, are forked from a warm process.
    """
    given = dict(flag.split("=", 1) for flag in flags)
    cluster: dict[str, str] = {
        name: given.pop(name) for name in ("--workers", "--ps") if name in given
    }
    devices = given.pop("--devices_per_worker", "1")
    train_args = [*args, *(f"{name}={value}" for name, value in given.items())]
    if cluster.get("--workers", "1") == "1" and cluster.get("--ps", "0") == "0":
        return train_args if devices == "1" else [*train_args, f"--devices={devices}"]
    cluster = {"--workers": "1", **cluster, "--devices_per_worker": devices}
    if not is_warm:
        cluster["--warm"] = "false"
    return ["launch", *(f"{name}={value}" for name, value in cluster.items()), "--", *train_args]


def exit_reason(code: int, message: str, last_line: str) -> str:
    """Why a process failed. `code`: negative for a signal, as in subprocess.Popen."""
    if code >= 0:
        return message or last_line or f"it ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", as when memory runs out" if code == -signal.SIGKILL else ""
    return f"it was killed by {name}{hint}; its last line was: {last_line}"
