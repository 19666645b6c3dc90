"""What is the result of a run? `Result` has it, for the summary, the report and the tests."""

import dataclasses
from typing import Any

from strategies.state import State


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a run. `finished` is false where it was asked to stop before its last step.

    `validation` is empty where there is no validation split. `ended_by`: the field of the config that
    ended the run before its last step. `best_step`: of the best evaluation, where the run may stop early.
    `spent`: what it has cost in privacy, by name. `state`: what this task holds. `weights_sha256`: of the
    whole model, where it finished.
    """

    finished: bool
    step: int
    epochs: float
    train: dict[str, Any]
    test: dict[str, float]
    examples_per_s: float
    state: State
    validation: dict[str, float] = dataclasses.field(default_factory=dict)
    ended_by: str = ""
    best_step: int | None = None
    spent: dict[str, float] = dataclasses.field(default_factory=dict)
    weights_sha256: str = ""
