"""Do the evaluations of a run still improve?

`EarlyStopping` answers from the metrics of each evaluation, which all tasks have, so all decide alike.
What it remembers is a `Best`, which checkpoints carry. It improves as Keras's callback of this name does.
"""

import dataclasses
from typing import NamedTuple

_MORE_IS_BETTER = ("acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "r2")


class Best(NamedTuple):
    """The best evaluation so far: its value and step, and how many have followed it."""

    value: float
    step: int
    evaluations_since: int


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """`patience` 0: the run never stops early. `mode`: auto, min or max, of the metric of this name."""

    patience: int = 0
    metric: str = "loss"
    mode: str = "auto"
    min_delta: float = 0.0
    restores_best: bool = False

    def after(self, best: Best | None, step: int, metrics: dict[str, float]) -> Best | None:
        """The best evaluation after one more; None where nobody asks. NaN is never better."""
        if not self.patience:
            return None
        value = metrics[self.metric]
        if best is None or self._gain(value, best.value) > self.min_delta:
            return Best(value, step, 0)
        return best._replace(evaluations_since=best.evaluations_since + 1)

    def is_over(self, best: Best | None) -> bool:
        """Whether the run stops after the evaluations that led to `best`."""
        return bool(self.patience and best and best.evaluations_since >= self.patience)

    def step_to_restore(self, best: Best | None, step: int) -> int:
        """Of the checkpoint with which a run ends that is at `step`; `step` where that is the last."""
        return best.step if self.patience and self.restores_best and best else step

    def _gain(self, value: float, before: float) -> float:
        if before != before:  # The first evaluation was NaN.
            return float("inf") if value == value else 0.0
        return value - before if self._is_larger_better() else before - value

    def _is_larger_better(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        return any(part in self.metric.lower() for part in _MORE_IS_BETTER)
