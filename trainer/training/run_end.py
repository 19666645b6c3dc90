"""Does a run end before its last step, and why?

`RunEnd` knows what all tasks know alike: the evaluations so far, and whether the leader's time is up. The
loop asks it where a run may stop.
"""

import numpy as np

from strategies.runtime import Runtime
from trainer.storage.checkpoints import Checkpoint
from trainer.training.early_stopping import Best, EarlyStopping
from trainer.training.privacy_budget import PrivacyBudget
from trainer.training.time_limit import TimeLimit

EARLY_STOPPING, MAX_TIME = "early_stopping.patience", "train.max_time_s"
MAX_EPSILON = "privacy.max_epsilon"


class RunEnd:
    """The end of one run. `best` and `seconds` are what its checkpoints say of it.

    Args:
      early_stopping: judges evaluations.
      time_limit: of all starts.
      is_leader: whether this task's clock counts.
      budget: of privacy. The schedule ends where it is spent.
    """

    def __init__(
        self,
        early_stopping: EarlyStopping,
        time_limit: TimeLimit,
        is_leader: bool,
        budget: PrivacyBudget | None = None,
    ):
        self._early_stopping, self._time_limit = early_stopping, time_limit
        self._budget = budget
        self._is_leader = is_leader
        self.best: Best | None = None
        self._reason = ""

    def resume(self, start: Checkpoint) -> None:
        """Takes up what a checkpoint says, the same on every task."""
        self.best = Best(*start.best) if start.best else None
        self._time_limit.resume(start.seconds)
        is_late = self._time_limit.is_over_after(start.seconds)
        self._reason = MAX_TIME if is_late else self._by_evaluations()

    @property
    def seconds(self) -> float:
        return self._time_limit.seconds

    @property
    def reason(self) -> str:
        """The field of the config that ended the run; "" while none has."""
        return self._reason

    def reason_at(self, step: int) -> str:
        """`reason`, of a run that ends after `step`."""
        is_spent = self._budget and self._budget.is_spent_after(step)
        return self._reason or (MAX_EPSILON if is_spent else "")

    def spent(self, step: int) -> dict[str, float]:
        """What `step` steps have cost, to be reported beside the metrics of an evaluation.

        Only on the leader, as it may take seconds to compute.
        """
        if not self._budget or not self._is_leader:
            return {}
        return {"epsilon": self._budget.epsilon(step)}

    @property
    def time_is_up(self) -> bool:
        """Whether this task asks all others to stop now."""
        return self._is_leader and self._time_limit.is_over

    def evaluated(self, step: int, metrics: dict[str, float]) -> None:
        """Judges an evaluation during the run."""
        self.best = self._early_stopping.after(self.best, step, metrics)
        self._reason = self._by_evaluations() or self._reason

    def needs_checkpoint(self, step: int) -> bool:
        """Whether the state after `step` must be saved, as the best, or as the last."""
        return bool(self._reason) or bool(self.best and self.best.step == step)

    def stopped(self, runtime: Runtime) -> None:
        """Agrees with the other tasks why they stop: all call it together."""
        is_late = runtime.broadcast(np.array([self.time_is_up]))
        if is_late[0] and not self._reason:
            self._reason = MAX_TIME

    def last_step(self, step: int) -> int:
        """The step whose state the run ends with, when it has trained to `step`."""
        return self._early_stopping.step_to_restore(self.best, step)

    def _by_evaluations(self) -> str:
        return EARLY_STOPPING if self._early_stopping.is_over(self.best) else ""
