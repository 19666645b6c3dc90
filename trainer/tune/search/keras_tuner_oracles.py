"""What of keras-tuner's oracles has to be otherwise here?

Their `create_trial` and `end_trial` are not used: they lock by the thread's name, with a call that Python
has deprecated, keep the lock where they fail, write files, and give up after some failures. What
proposes values, `populate_space`, is theirs throughout. It is made to follow from the seed, the trials
so far and their scores alone, so that a journal of these brings an oracle back.
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

from trainer.config.fields import ConfigError, brief
from trainer.tune.search.record import Objective
from trainer.tune.space.dimension import MAX_STEPS
from trainer.tune.space.space import Space

_RUNNING, _COMPLETED, _FAILED = "RUNNING", "COMPLETED", "FAILED"
_MOST_COLLISIONS = 10_000


class ReplayableOracle(keras_tuner.Oracle):
    """What all have in common. Ids are those of the sweep, in the order in which trials are given out."""

    waits = False  # Whether the end of a trial can bring another one.

    def __init__(self, space: Space, objective: Objective, seed: int, **settings: Any):
        sought = keras_tuner.Objective(objective.name, objective.direction)
        super().__init__(objective=sought, hyperparameters=space.hyperparameters(), **settings)
        self.seed = seed  # Set here, as the constructor would take 0 for none.
        self.verbose = 0
        self.space = space
        if space.size is None:  # Else what is left is looked for, below.
            self._max_collisions = _MOST_COLLISIONS

    @property
    def is_quick(self) -> bool:
        """Whether the next values are cheap to find."""
        return True

    def check(self, max_trials: float) -> None:
        """Raises ConfigError where it cannot search this space with so many trials."""

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Values for the next trial. The same until a trial begins or ends."""
        # Anew for each trial: keras-tuner counts on from it, so that seeds 1 and 2 had trials in common.
        self._seed_state = random.Random(f"{self.seed} {trial_id}").getrandbits(64)
        response = self.populate_space(trial_id)
        if response["status"] != _RUNNING:
            return None
        # In Python's own types: some that bayesian suggests are numpy's.
        values = response["values"].items()
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in values
        }

    def begin(self, trial_id: str, values: Mapping[str, Any]) -> None:
        """Takes notice that a trial was given out with these values."""
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = dict(values)
        self.trials[trial_id] = self.ongoing_trials[trial_id] = Trial(hyperparameters, trial_id)
        self.start_order.append(trial_id)
        self._tried_so_far.add(self._compute_values_hash(values))

    def end(self, trial_id: str, score: float | None) -> None:
        """Takes notice of a trial's score; None: it failed."""
        trial = self.ongoing_trials.pop(trial_id)
        trial.status, trial.score = (_FAILED if score is None else _COMPLETED), score
        self.end_order.append(trial_id)

    def _random_values(self) -> dict[str, Any] | None:
        """Values not yet tried. keras-tuner gives up on a finite space before its last."""
        values = super()._random_values()
        if values is not None or self.space.size is None:
            return values
        left = [setting for setting in self.space.settings() if not self._duplicate(setting)]
        return random.Random(self._seed_state).choice(left) if left else None


class Random(ReplayableOracle, oracles.RandomSearchOracle):
    """Values at random, as they are."""


class Grid(ReplayableOracle, oracles.GridSearchOracle):
    """All values in turn. A range without steps is cut into eleven."""

    def check(self, max_trials: float) -> None:
        for dimension in self.space.dimensions:
            if dimension.values is not None and len(dimension.values) > MAX_STEPS:
                raise ConfigError(
                    f"`space.{dimension.name}` must have at most {MAX_STEPS:,} values for grid. "
                    f"Received: {brief(dimension.as_dict())}; give it a step, or use another --tuner."
                )

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        response = super().populate_space(trial_id)
        # keras-tuner waits for a trial to end, in case it brings new dimensions. Here none does.
        self._populate_next = [trial_id]
        return response


class Bayesian(ReplayableOracle, oracles.BayesianOptimizationOracle):
    """Values at random at first, and then where a Gaussian process expects the most.

    It begins with three trials for each dimension, as in keras-tuner, but with no more than eight.
    """

    def __init__(self, space: Space, objective: Objective, seed: int):
        num_initial_points = min(3 * len(space.dimensions), 8)
        super().__init__(space, objective, seed, num_initial_points=num_initial_points)
        # The process says so of each bound that it meets; the suggestion is none the worse.
        warnings.filterwarnings(
            "ignore", category=ConvergenceWarning, module="sklearn.gaussian_process"
        )

    @property
    def is_quick(self) -> bool:
        return len(self._completed()) < self.num_initial_points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # Both anew for each trial: a sweep that is resumed has not made the earlier ones' draws and fits.
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        self.gpr = self._make_gpr()
        # On one core: the same bits on any machine's number of them, and thrice as fast, being small.
        with threadpool_limits(1):
            response = super().populate_space(trial_id)
        if response["values"] is not None and self._duplicate(response["values"]):
            return self._random_populate_space()
        return response

    def _vectorize_trials(self) -> tuple[np.ndarray, np.ndarray]:
        """The trials as points. For those under way the process guesses, from those completed."""
        if self.ongoing_trials:
            everything = self.trials, self.ongoing_trials
            self.trials, self.ongoing_trials = self._completed(), {}
            self.gpr.fit(*super()._vectorize_trials())
            self.trials, self.ongoing_trials = everything
        return super()._vectorize_trials()

    def _get_hp_bounds(self) -> np.ndarray:
        # At 1 itself an integer would be one above its range.
        return super()._get_hp_bounds() * (1 - 1e-6)

    def _completed(self) -> dict[str, Trial]:
        return {name: trial for name, trial in self.trials.items() if trial.status == _COMPLETED}


class Hyperband(ReplayableOracle, oracles.HyperbandOracle):
    """Many trials for few epochs, the best of which go on for more, in brackets of their own."""

    waits = True

    def check(self, max_trials: float) -> None:
        for dimension in self.space.dimensions:
            if dimension.name in ("train.epochs", "train.steps"):
                raise ConfigError(
                    f"`space.{dimension.name}` is not for hyperband, which decides how long trials last. "
                    f"Received: {brief(dimension.as_dict())}; take it out, or use another --tuner."
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
            # Worst rather than failed: keras-tuner waits for as many scores as it had trials.
            trial.status = _COMPLETED
            trial.score = math.inf if self.objective.direction == "min" else -math.inf

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # A failed trial is never continued: its place in the round stays empty.
        while True:
            response = super().populate_space(trial_id)
            past = (response.get("values") or {}).get("tuner/trial_id")
            if past is None or math.isfinite(self.trials[past].score):
                return response
            rounds = itertools.chain.from_iterable(bracket["rounds"] for bracket in self._brackets)
            for entry in itertools.chain.from_iterable(rounds):
                if entry["id"] == trial_id:
                    entry["id"] = past
