"""Which trials does the sweep have, and what is the state of each?

`Search` asks its oracle for values, makes trials from them, and tells it how each ended. All of this is
in the ledger before anything acts on it, so a killed sweep is restored from there: trials that had ended
stay ended, and those that were running are assigned again first.
"""

import collections
import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

from strategies.errors import InputError
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig
from trainer.tune.search import ledger, median_stopping
from trainer.tune.search.ledger import Ledger
from trainer.tune.search.oracle import Oracle, Suggestion
from trainer.tune.search.record import (
    COMPLETED,
    FAILED,
    RUNNING,
    STOPPED,
    Objective,
    TrialRecord,
    best,
)
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec

MakeTrial = Callable[[Suggestion], tuple[ExperimentConfig, tuple[str, ...]]]


class Search:
    """The trials of a sweep. It is a `TrialSource`, and safe to call from several threads.

    `on_trial_end` is called with the record of each trial that ends, in the thread that reports it.

    Args:
      objective: what the sweep optimizes.
      oracle: suggests values. It must be new: the events of the ledger are replayed on it.
      ledger: that of this sweep.
      make_trial: returns a suggestion's config, and its flags of `launch` and `train`. If it raises
        ConfigError, for an invalid combination of values, the trial fails with that error.
      early_stop: one of `trainer.cli.tuners.RULES`.

    Raises:
      InputError: the ledger is not one that this oracle would have led to.
    """

    def __init__(
        self,
        objective: Objective,
        oracle: Oracle,
        ledger: Ledger,
        make_trial: MakeTrial,
        early_stop: str = "never",
    ):
        self.objective = objective
        self.on_trial_end: Callable[[TrialRecord], None] = lambda record: None
        self._oracle, self._ledger, self._make_trial = oracle, ledger, make_trial
        self._early_stop = early_stop
        self._lock = threading.RLock()
        self._records: dict[str, TrialRecord] = {}
        self._prepared: dict[str, tuple[ExperimentConfig, tuple[str, ...]] | ConfigError] = {}
        self._curves: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
        for event in ledger.events:
            self._replay(event)
        # Trials that were running when the sweep ended, and now have no runner.
        self._queued = [record.id for record in self._records.values() if record.status == RUNNING]

    @property
    def is_finished(self) -> bool:
        """There is no trial left, and none is running."""
        with self._lock:
            running = any(record.status == RUNNING for record in self._records.values())
            return self._oracle.is_exhausted and not running

    def records(self) -> list[TrialRecord]:
        """All trials, in the order in which they began."""
        with self._lock:
            return list(self._records.values())

    def best(self) -> TrialRecord | None:
        """The best completed trial; None if no trial has completed."""
        return best(self.objective, self.records())

    def config(self, trial_id: str) -> tuple[ExperimentConfig, tuple[str, ...]]:
        """A trial's config, and its flags of `launch` and `train`.

        Raises:
          ConfigError: the trial's values are an invalid combination.
        """
        prepared = self._prepared[trial_id]
        if isinstance(prepared, ConfigError):
            raise prepared
        return prepared

    def ask(self, runner: str) -> TrialSpec | None:
        with self._lock:
            while trial_id := self._next():
                try:
                    return self._assign(trial_id, runner)
                except ConfigError as error:
                    self.tell(trial_id, Outcome(FAILED, {}, error=str(error)))
            return None

    def report(self, trial_id: str, progress: Progress) -> bool:
        with self._lock:
            record = self._records[trial_id]
            self._records[trial_id] = dataclasses.replace(
                record,
                step=progress.step,
                epoch=progress.epoch,
                metrics=progress.metrics,
                objective=progress.metrics.get(self.objective.name),
            )
            curve = self._curves[trial_id]
            value = progress.metrics.get(self.objective.name)
            if value is not None and (not curve or curve[-1][0] < progress.epoch):
                curve.append((progress.epoch, value))
            if self._early_stop != "median":
                return False
            ended = {one: self._curves[one] for one in self._ended_ids()}
            return median_stopping.should_stop(self.objective, curve, ended)

    def tell(self, trial_id: str, outcome: Outcome) -> None:
        with self._lock:
            ended = dataclasses.asdict(outcome) | {
                "seconds": outcome.seconds + self._records[trial_id].seconds,
                "curve": self._curves[trial_id] if self._early_stop != "never" else [],
            }
            self._ledger.write(ledger.ENDED, id=trial_id, **ended)
            self._end(trial_id, ended)
            self.on_trial_end(self._records[trial_id])

    def requeue(self, trial_id: str, seconds: float) -> None:
        with self._lock:
            self._ledger.write(ledger.INTERRUPTED, id=trial_id, seconds=seconds)
            self._interrupt(trial_id, seconds)
            self._queued.append(trial_id)

    def _next(self) -> str | None:
        """The id of the trial to assign next: one that was interrupted, or else a new one."""
        if self._queued:
            return self._queued.pop(0)
        suggestion = self._oracle.ask()
        if suggestion is None:
            return None
        self._ledger.write(ledger.ASKED, **suggestion._asdict())
        self._begin(suggestion)
        return suggestion.id

    def _ended_ids(self) -> list[str]:
        return [one.id for one in self._records.values() if one.status in (COMPLETED, STOPPED)]

    # The effect of an event, whether it happens now or is replayed from the ledger.

    def _replay(self, event: Mapping[str, Any]) -> None:
        try:
            if event["event"] == ledger.ASKED:
                suggestion = Suggestion(
                    event["id"], event["values"], event["epochs"], event["continues"]
                )
                self._oracle.replay(suggestion)
                self._begin(suggestion)
            elif event["event"] == ledger.INTERRUPTED:
                self._interrupt(event["id"], event["seconds"])
            elif event["event"] == ledger.ENDED:
                self._curves[event["id"]] = event["curve"]
                self._end(event["id"], event)
            else:
                raise KeyError
        except (KeyError, TypeError):
            raise InputError(
                f"`--workdir` holds a damaged sweep. Received: {short_json(event)} in its ledger; choose "
                "another folder."
            ) from None

    def _begin(self, suggestion: Suggestion) -> None:
        epochs = 0.0
        try:
            self._prepared[suggestion.id] = config, _ = self._make_trial(suggestion)
            epochs = 0.0 if config.train.steps else float(config.train.epochs)
        except ConfigError as error:
            self._prepared[suggestion.id] = error
        self._records[suggestion.id] = TrialRecord(
            suggestion.id,
            suggestion.values,
            epochs=epochs,
            continues=suggestion.continues,
            workdir=f"trials/{suggestion.id}",
        )

    def _assign(self, trial_id: str, runner: str) -> TrialSpec:
        config, flags = self.config(trial_id)
        record = dataclasses.replace(self._records[trial_id], runner=runner)
        self._records[trial_id] = record
        return TrialSpec(trial_id, dataclasses.asdict(config), flags, record.continues)

    def _interrupt(self, trial_id: str, seconds: float) -> None:
        record = self._records[trial_id]
        self._records[trial_id] = dataclasses.replace(
            record, seconds=record.seconds + seconds, runner=""
        )

    def _end(self, trial_id: str, ended: Mapping[str, Any]) -> None:
        objective = ended["metrics"].get(self.objective.name)
        status, error = ended["status"], ended["error"]
        if status != FAILED and objective is None:
            status, error = FAILED, f"the run reported no {self.objective.name}"
        self._oracle.tell(trial_id, None if status == FAILED else objective)
        self._records[trial_id] = dataclasses.replace(
            self._records[trial_id],
            status=status,
            objective=None if status == FAILED else objective,
            metrics=ended["metrics"],
            error=error,
            seconds=ended["seconds"],
            step=ended["step"],
            epoch=ended["epoch"],
        )
