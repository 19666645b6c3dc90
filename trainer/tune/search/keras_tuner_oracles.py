"""How do keras-tuner's oracles become replayable?

`populate_space`, which suggests values, is keras-tuner's. Here its result depends only on the seed, the
trials so far and their scores, so replaying these restores an oracle. keras-tuner's `create_trial` and
`end_trial` are not used: they lock by the thread's name with a call that Python has deprecated, keep the
lock if they fail, write files, and give up after some failures.
"""

import itertools
import math
import random
import warnings
from collections.abc import Mapping
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from trainer.config.fields import ConfigError, short_json
from trainer.tune.search.record import Objective
from trainer.tune.space.dimension import MAX_STEPS
from trainer.tune.space.space import Space

_RUNNING, _COMPLETED, _FAILED = "RUNNING", "COMPLETED", "FAILED"
_MAX_COLLISIONS = 10_000


class ReplayableOracle(keras_tuner.Oracle):
    """What all tuners have in common. Trials have the sweep's ids, in the order of their suggestion."""

    waits = False  # Whether the end of a trial can make another suggestion possible.
    trials: dict[str, Trial]
    ongoing_trials: dict[str, Trial]

    def __init__(self, space: Space, objective: Objective, seed: int, **settings: Any):
        super().__init__(
            objective=keras_tuner.Objective(objective.name, objective.direction),
            hyperparameters=space.hyperparameters(),
            **settings,
        )
        self.seed = seed  # Set here: the constructor would replace 0 by a random seed.
        self.verbose = 0
        self.space = space
        if space.size is None:  # For a finite space, `_random_values` chooses from what is left.
            self._max_collisions = _MAX_COLLISIONS

    @property
    def is_quick(self) -> bool:
        """Whether the next suggestion needs no model fit."""
        return True

    def check(self, max_trials: float) -> None:
        """Raises ConfigError if the tuner cannot search this space with this number of trials."""

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Values for the next trial, or None. They do not change until a trial begins or ends."""
        # A new state per trial: keras-tuner increments the seed, so seeds 1 and 2 would share trials.
        self._seed_state = random.Random(f"{self.seed} {trial_id}").getrandbits(64)
        response = self.populate_space(trial_id)
        if response["status"] != _RUNNING:
            return None
        # Converted to Python's types, as bayesian suggests some of NumPy's.
        values = response["values"].items()
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in values
        }

    def begin(self, trial_id: str, values: Mapping[str, Any]) -> None:
        """Records that a trial with these values has begun."""
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = dict(values)
        self.trials[trial_id] = self.ongoing_trials[trial_id] = Trial(hyperparameters, trial_id)
        self.start_order.append(trial_id)
        self._tried_so_far.add(self._compute_values_hash(values))

    def end(self, trial_id: str, score: float | None) -> None:
        """Records a trial's score; None: it failed."""
        trial = self.ongoing_trials.pop(trial_id)
        trial.status, trial.score = (_FAILED if score is None else _COMPLETED), score
        self.end_order.append(trial_id)

    def _random_values(self) -> dict[str, Any] | None:
        """Values not tried yet. keras-tuner would give up on a finite space before its last setting."""
        values = super()._random_values()
        if values is not None or self.space.size is None:
            return values
        untried = [setting for setting in self.space.settings() if not self._duplicate(setting)]
        return random.Random(self._seed_state).choice(untried) if untried else None


class Random(ReplayableOracle, oracles.RandomSearchOracle):
    """Random search."""


class Grid(ReplayableOracle, oracles.GridSearchOracle):
    """Grid search. A range without a step is tried at eleven values."""

    def check(self, max_trials: float) -> None:
        for dimension in self.space.dimensions:
            if dimension.values is not None and len(dimension.values) > MAX_STEPS:
                raise ConfigError(
                    f"`space.{dimension.name}` must have at most {MAX_STEPS:,} values for grid. "
                    f"Received: {short_json(dimension.as_dict())}; give it a step, or use another "
                    "--tuner."
                )

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        response = super().populate_space(trial_id)
        # keras-tuner waits for a trial to end, as it might add dimensions. Here none can.
        self._populate_next = [trial_id]
        return response


class Bayesian(ReplayableOracle, oracles.BayesianOptimizationOracle):
    """Bayesian optimization: random values first, then those that a Gaussian process prefers.

    The first three trials per dimension are random, as in keras-tuner, but at most eight.
    """

    def __init__(self, space: Space, objective: Objective, seed: int):
        num_initial_points = min(3 * len(space.dimensions), 8)
        super().__init__(space, objective, seed, num_initial_points=num_initial_points)
        # It warns of each hyperparameter at its bound, which does not make the suggestion worse.
        warnings.filterwarnings(
            "ignore", category=ConvergenceWarning, module="sklearn.gaussian_process"
        )

    @property
    def is_quick(self) -> bool:
        return len(self._completed()) < self.num_initial_points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # Both are new for each trial: a resumed sweep has not repeated the earlier draws and fits.
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        self.gpr = self._make_gpr()
        # On one core: the result has the same bits on any machine, and these small fits are three times
        # as fast.
        with threadpool_limits(1):
            response = super().populate_space(trial_id)
        if response["values"] is not None and self._duplicate(response["values"]):
            return self._random_populate_space()
        return response

    def _vectorize_trials(self) -> tuple[np.ndarray, np.ndarray]:
        """The trials as points. Scores of running trials are predicted from the completed ones."""
        if self.ongoing_trials:
            saved = self.trials, self.ongoing_trials
            self.trials, self.ongoing_trials = self._completed(), {}
            self.gpr.fit(*super()._vectorize_trials())
            self.trials, self.ongoing_trials = saved
        return super()._vectorize_trials()

    def _get_hp_bounds(self) -> np.ndarray:
        # A probability of exactly 1 would give an integer one above its range.
        return super()._get_hp_bounds() * (1 - 1e-6)

    def _completed(self) -> dict[str, Trial]:
        return {name: trial for name, trial in self.trials.items() if trial.status == _COMPLETED}


class Hyperband(ReplayableOracle, oracles.HyperbandOracle):
    """Hyperband: many trials for few epochs, of which the best continue for more epochs."""

    waits = True

    def check(self, max_trials: float) -> None:
        for dimension in self.space.dimensions:
            if dimension.name in ("train.epochs", "train.steps"):
                raise ConfigError(
                    f"`space.{dimension.name}` cannot be searched by hyperband, which sets the trials' "
                    f"length. Received: {short_json(dimension.as_dict())}; remove it, or use another "
                    "--tuner."
                )
        brackets = range(self._get_num_brackets())
        needed = min(sum(self._get_size(bracket, round_num=0) for bracket in brackets), max_trials)
        if self.space.size is not None and self.space.size < needed:
            raise ConfigError(
                f"`--tuner=hyperband` needs a space of {needed} settings for {self.max_epochs} epochs. "
                f"Received: {self.space.size}; use --tuner=grid, or lower --max_epochs."
            )

    def end(self, trial_id: str, score: float | None) -> None:
        trial = self.trials[trial_id]
        super().end(trial_id, score)
        if score is None:
            # Scored as the worst instead of as failed: keras-tuner waits for a score of every trial.
            trial.status = _COMPLETED
            trial.score = math.inf if self.objective.direction == "min" else -math.inf

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # A failed trial is never continued: its entry in the round is skipped.
        while True:
            response = super().populate_space(trial_id)
            past = (response.get("values") or {}).get("tuner/trial_id")
            if past is None or math.isfinite(self.trials[past].score):
                return response
            rounds = itertools.chain.from_iterable(bracket["rounds"] for bracket in self._brackets)
            for entry in itertools.chain.from_iterable(rounds):
                if entry["id"] == trial_id:
                    entry["id"] = past
