"""What is known about a trial, and which of two trials is better?

`TrialRecord` holds what is known; `Objective` compares, and `best` finds the best completed trial.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from trainer.cli.synonyms import OBJECTIVE_SYNONYMS
from trainer.config.fields import ConfigError, short_json
from trainer.config.nearest import nearest

RUNNING, COMPLETED, STOPPED, FAILED = "running", "completed", "stopped", "failed"

MEASURED = "test_"  # How the figures of a trial begin that are of the test examples.
CROSS_VALIDATED = "cv_"  # How the figures of a trial begin that are means over folds.

# The metrics of a run's summary.json that a sweep can optimize, and whether a larger one is better.
_OBJECTIVES = {
    "test_accuracy": "max",
    "test_loss": "min",
    "test_mean_absolute_error": "min",
    "validation_accuracy": "max",
    "validation_loss": "min",
    "validation_mean_absolute_error": "min",
    "cv_accuracy": "max",
    "cv_loss": "min",
    "cv_mean_absolute_error": "min",
    "final_loss": "min",
    "examples_per_s": "max",
    "seconds": "min",
}


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a sweep optimizes: the name of a metric, and the direction "max" or "min"."""

    name: str
    direction: str

    @classmethod
    def named(cls, name: str) -> "Objective":
        """The objective of this name. Raises ConfigError for a metric that no run reports."""
        if name not in _OBJECTIVES:
            close = OBJECTIVE_SYNONYMS.get(name) or nearest(name, _OBJECTIVES)
            hint = f"did you mean {close}?" if close else "choose one of these."
            raise ConfigError(
                f"`--objective` must be one of {', '.join(_OBJECTIVES)}. Received: "
                f"{short_json(name)}; {hint}"
            )
        return cls(name, _OBJECTIVES[name])

    def is_better(self, one: float, other: float) -> bool:
        return one > other if self.direction == "max" else one < other


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """A trial, running or ended.

    Attributes:
      id: a number, as text; trials are numbered in the order in which they began.
      values: the searched values, by dotted name.
      status: RUNNING, COMPLETED, STOPPED (early) or FAILED.
      objective: the newest value of the objective; None if there is none, and for a failed trial.
      metrics: all numbers of its summary.json, or the newest of a running trial.
      error: why it failed.
      seconds: the time spent on it, startup included, over all its starts.
      step, epoch: how far it is; `epochs`: how many it has in all, 0 if it is measured in steps.
      workdir: its folder, relative to the sweep's.
      continues: the id of the trial whose checkpoint it started from; "" for none.
      runner: the machine and slot that run it.
    """

    id: str
    values: Mapping[str, Any]
    status: str = RUNNING
    objective: float | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    step: int = 0
    epoch: float = 0.0
    epochs: float = 0.0
    workdir: str = ""
    continues: str = ""
    runner: str = ""


def best(objective: Objective, records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The best completed trial, the first of equal ones; None if no trial has completed."""
    top: tuple[float, TrialRecord] | None = None
    for record in records:
        if record.status != COMPLETED or record.objective is None:
            continue
        if top is None or objective.is_better(record.objective, top[0]):
            top = record.objective, record
    return top[1] if top else None
