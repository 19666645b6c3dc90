"""How does a trial become several runs, one for each fold of the training examples?

`FoldedTrials` is between a search and the machines that run its trials. It hands out each trial as a run
for each fold, and tells the search the mean of their figures. A fold that has ended is not run again
after a kill, as its folder has its summary.
"""

import dataclasses
import statistics
import threading
from collections.abc import Iterable, Mapping

from trainer.tune.search.record import COMPLETED, CROSS_VALIDATED, FAILED, MEASURED
from trainer.tune.search.trial_source import Outcome, Progress, TrialSource, TrialSpec

FOLD = "-fold"  # Between the id of a trial and the number of a fold.


@dataclasses.dataclass
class _Trial:
    """A trial that has begun: the folds that no machine runs, and what is known of the others."""

    spec: TrialSpec
    waiting: list[int]
    progress: dict[int, Progress] = dataclasses.field(default_factory=dict)
    outcomes: dict[int, Outcome] = dataclasses.field(default_factory=dict)


class FoldedTrials:
    """Each trial of `source` as `folds` runs. Implements `TrialSource`; several threads may call it."""

    def __init__(self, source: TrialSource, folds: int, is_stratified: bool):
        self._source, self._folds, self._is_stratified = source, folds, is_stratified
        self._open: dict[str, _Trial] = {}
        self._lock = threading.RLock()

    @property
    def is_finished(self) -> bool:
        return self._source.is_finished

    def ask(self, runner: str) -> TrialSpec | None:
        with self._lock:
            waiting = [trial for trial in self._open.values() if trial.waiting]
            if not waiting:
                spec = self._source.ask(runner)
                if spec is None:
                    return None
                self._open[spec.id] = trial = _Trial(spec, [*range(self._folds)])
                waiting = [trial]
            return self._run(waiting[0].spec, waiting[0].waiting.pop(0))

    def report(self, trial_id: str, progress: Progress) -> bool:
        with self._lock:
            trial, fold = self._find(trial_id)
            if not trial:
                return True  # Another of its folds has failed.
            trial.progress[fold] = progress
            found = trial.progress.values()
            share = len(found) / self._folds
            epoch = share * statistics.fmean(one.epoch for one in found)
            step = sum(one.step for one in found) // self._folds
            means = mean_metrics(one.metrics for one in found)
            return self._source.report(trial.spec.id, Progress(step, epoch, means))

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        with self._lock:
            trial, fold = self._find(trial_id)
            if not trial:
                return
            trial.outcomes[fold] = outcome
            ended = trial.outcomes.values()
            seconds = sum(one.seconds for one in ended)
            if outcome.status == FAILED:
                error = f"fold {fold}: {outcome.error}"
                self._end(trial, Outcome(FAILED, {}, error=error, seconds=seconds))
            elif len(ended) == self._folds:
                step = round(statistics.fmean(one.step for one in ended))
                epoch = statistics.fmean(one.epoch for one in ended)
                means = mean_metrics(one.metrics for one in ended)
                self._end(trial, Outcome(COMPLETED, means, step, epoch, seconds=seconds))

    def requeue(self, trial_id: str, seconds: float) -> None:
        with self._lock:
            trial, fold = self._find(trial_id)
            if trial:
                trial.waiting.insert(0, fold)

    def _end(self, trial: _Trial, outcome: Outcome) -> None:
        del self._open[trial.spec.id]
        self._source.tell(trial.spec.id, outcome)

    def _find(self, trial_id: str) -> tuple[_Trial | None, int]:
        name, _, fold = trial_id.rpartition(FOLD)
        return self._open.get(name), int(fold)

    def _run(self, spec: TrialSpec, fold: int) -> TrialSpec:
        own = {"folds": self._folds, "fold": fold, "stratified": self._is_stratified}
        config = {**spec.config, "data": {**spec.config["data"], **own}}
        continues = f"{spec.continues}{FOLD}{fold}" if spec.continues else ""
        return TrialSpec(f"{spec.id}{FOLD}{fold}", config, spec.flags, continues)


def mean_metrics(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure that all have: test_accuracy as cv_accuracy, beside cv_accuracy_std."""
    metrics = [*found]
    means = {}
    for name in metrics[0]:
        values = [one[name] for one in metrics if name in one]
        if len(values) < len(metrics):
            continue
        is_measured = name.startswith(MEASURED)
        shown = f"{CROSS_VALIDATED}{name.removeprefix(MEASURED)}" if is_measured else name
        means[shown] = statistics.fmean(values)
        if is_measured and len(values) > 1:
            means[f"{shown}_std"] = statistics.stdev(values)
    return means
