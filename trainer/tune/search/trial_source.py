"""What does a machine need to know to run a trial, and what does it report about it?

A machine asks a `TrialSource` for a `TrialSpec`, reports `Progress`, and tells it the `Outcome`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """A trial to run. It can be written as JSON, to be sent to another machine.

    Attributes:
      id: the trial's name, and that of its folder.
      config: a complete config, as in a run's config.json.
      flags: the flags of `launch` and `train` that the trial is started with.
      continues: the id of the trial whose newest checkpoint this one starts from, if there is one on
        the machine that runs it; "" for none.
    """

    id: str
    config: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    continues: str = ""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a running trial is. `metrics` are the newest, under their names in summary.json."""

    step: int
    epoch: float
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
      status: COMPLETED, STOPPED (early) or FAILED, of `record`.
      metrics: those of its summary.json, or the newest if it has none.
      step, epoch: the last ones.
      error: why it failed.
      seconds: the time that the reporting machine spent on it.
    """

    status: str
    metrics: Mapping[str, float]
    step: int = 0
    epoch: float = 0.0
    error: str = ""
    seconds: float = 0.0


class TrialSource(Protocol):
    """Where a machine gets its trials from: the search itself, or the sweep's server.

    Every call may raise Resumable if the server is lost.
    """

    @property
    def is_finished(self) -> bool:
        """There is no trial left, now or later."""

    def ask(self, runner: str) -> TrialSpec | None:
        """Assigns the next trial to the slot `runner`. None: there is no trial, perhaps only for now."""

    def report(self, trial_id: str, progress: Progress) -> bool:
        """Records the progress of a running trial. Returns whether the trial should be stopped early."""

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        """Records how a trial ended. The record is on the disk when this returns."""

    def requeue(self, trial_id: str, seconds: float) -> None:
        """Returns a trial that was interrupted after `seconds`. It will be assigned again."""
