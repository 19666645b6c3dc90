"""What is known of a trial, and which of two is better?"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from trainer.cli.synonyms import OBJECTIVE_SYNONYMS
from trainer.config.fields import ConfigError, short_json
from trainer.config.nearest import nearest

RUNNING, COMPLETED, STOPPED, FAILED = "running", "completed", "stopped", "failed"

# What a run's summary.json may hold that can be sought, and whether more of it is better.
_OBJECTIVES = {
    "test_accuracy": "max",
    "test_loss": "min",
    "test_mean_absolute_error": "min",
    "final_loss": "min",
    "examples_per_s": "max",
    "seconds": "min",
}


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a sweep seeks: the name of a figure, and "max" or "min"."""

    name: str
    direction: str

    @classmethod
    def named(cls, name: str) -> "Objective":
        """Raises ConfigError for a name that no run reports."""
        if name not in _OBJECTIVES:
            close = OBJECTIVE_SYNONYMS.get(name) or nearest(name, _OBJECTIVES)
            hint = f"did you mean {close}?" if close else "choose one of these."
            if name in OBJECTIVE_SYNONYMS:
                hint = f"there is no validation set, so use {close}."
            raise ConfigError(
                f"`--objective` must be one of {', '.join(_OBJECTIVES)}. Received: "
                f"{short_json(name)}; {hint}"
            )
        return cls(name, _OBJECTIVES[name])

    def is_better(self, one: float, other: float) -> bool:
        return one > other if self.direction == "max" else one < other


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial, under way or over.

    `values` are those that were searched, by dotted name. `metrics` are all figures of its summary, or
    the last known of a trial under way; `step` and `epoch` say how far it came, of `epochs`. A trial
    that is `stopped` was hopeless: it has an objective, as far as it came. `continues` names the trial
    whose run it took further. `seconds` are spent running it, starts included.
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
    runner: str = ""  # Which slot of which machine has it.


def best(objective: Objective, records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The best completed trial, of equal ones the first; None where none is completed."""
    found = None
    for record in records:
        if record.status != COMPLETED or record.objective is None:
            continue
        if found is None or objective.is_better(record.objective, found.objective):
            found = record
    return found
