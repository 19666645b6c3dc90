"""What does a machine need to know to run a trial, and what does it tell of it?"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """A trial to run. All of it is JSON, as it may travel to another machine.

    `config` is a whole config, as in a config.json; `flags` are those of `launch` and `train` that the
    trial is started with. `continues` names the trial whose newest checkpoint it starts from, where
    that can be found.
    """

    id: str
    config: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    continues: str = ""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a trial under way has come: `metrics` are the newest, named as in a summary."""

    step: int
    epoch: float
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial ended: `status` is completed, stopped or failed, and `error` says of what it failed.

    `seconds` were spent on it by who tells; `metrics` are the figures of its summary.
    """

    status: str
    metrics: Mapping[str, float]
    step: int = 0
    epoch: float = 0.0
    error: str = ""
    seconds: float = 0.0


class TrialSource(Protocol):
    """Where a machine has its trials from: the sweep itself, or its chief on another machine.

    Every call may raise Resumable, where the sweep is out of reach.
    """

    is_over: bool  # No trial is to be had any more, now or later.

    def ask(self, runner: str) -> TrialSpec | None:
        """The next trial, which is then `runner`'s; None while there is none, be it for now."""

    def note(self, trial_id: str, progress: Progress) -> bool:
        """Takes notice of a trial under way. True if it is hopeless, and is to be stopped."""

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        """Records how a trial ended. Safe once this returns."""

    def give_back(self, trial_id: str, seconds: float) -> None:
        """Hands back a trial that was interrupted after `seconds`; it will be resumed."""
