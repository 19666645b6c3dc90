"""Which values are tried next?

keras-tuner's oracles suggest them. `Oracle` asks one trial at a time, and restores an oracle's state by
replaying its earlier answers. Nothing here reads or writes a file.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from strategies.errors import InputError
from trainer.cli.tuners import TUNERS
from trainer.config.fields import short_json
from trainer.tune.search.record import Objective
from trainer.tune.space.space import Space

if TYPE_CHECKING:
    from trainer.tune.search.keras_tuner_oracles import ReplayableOracle

_PREFIX = "tuner/"  # Of the entries that Hyperband adds to a trial's values.


class Suggestion(NamedTuple):
    """The values of a new trial, as keras-tuner has them, for the dimensions active in it.

    With Hyperband, `epochs` is how many the trial has in all, and `continues` the id of the trial whose
    checkpoint it starts from, or "".
    """

    id: str
    values: Mapping[str, Any]
    epochs: int | None = None
    continues: str = ""


class Oracle:
    """Suggests the next trial, given all earlier calls. Not safe to call from several threads.

    The same calls in the same order give the same suggestions. `is_exhausted` becomes True once `ask`
    cannot suggest another trial, however the running ones end.
    """

    def __init__(self, tuner: "ReplayableOracle", space: Space, max_trials: float):
        self.is_exhausted = False
        self._tuner, self._space = tuner, space
        self._max_trials = max_trials

    def ask(self) -> Suggestion | None:
        """The next trial. None: there is none, perhaps only until a running trial ends."""
        has_room = len(self._tuner.trials) < self._max_trials
        values = self._suggest() if has_room and not self.is_exhausted else None
        if values is None:
            is_waiting = has_room and self._tuner.waits and self._tuner.ongoing_trials
            self.is_exhausted = self.is_exhausted or not is_waiting
            return None
        return self._begin(values)

    def tell(self, trial_id: str, score: float | None) -> None:
        """Records the objective of an ended trial. None, NaN or infinity: the trial failed."""
        is_score = score is not None and math.isfinite(score)
        self._tuner.end(trial_id, score if is_score else None)

    def replay(self, recorded: Suggestion) -> None:
        """Repeats the call of `ask` that returned this, without fitting a model.

        Raises:
          InputError: `ask` would not return this now.
        """
        values: Mapping[str, Any] | None
        if self._tuner.is_quick:
            values = self._suggest()
        else:  # Fitting again would be slow, so any suggestion from the space is accepted.
            values = recorded.values if self._space.holds(recorded.values) else None
        if values is None or self._suggestion(values) != recorded:
            raise InputError(
                "`--workdir` holds a sweep that was begun with other settings, or another version of "
                f"keras-tuner. Received: {short_json(recorded)} as its trial {len(self._tuner.trials)}; "
                "start it again in a fresh folder."
            )
        self._begin(values)

    @property
    def _next_id(self) -> str:
        return f"{len(self._tuner.trials):04d}"

    def _suggest(self) -> dict[str, Any] | None:
        return self._tuner.suggest(self._next_id)

    def _suggestion(self, values: Mapping[str, Any]) -> Suggestion:
        searched = {name: value for name, value in values.items() if not name.startswith(_PREFIX)}
        epochs, continues = (
            values.get(f"{_PREFIX}epochs"),
            values.get(f"{_PREFIX}trial_id", ""),
        )
        return Suggestion(self._next_id, searched, epochs, continues)

    def _begin(self, values: Mapping[str, Any]) -> Suggestion:
        suggestion = self._suggestion(values)
        self._tuner.begin(suggestion.id, values)
        return suggestion


def create(
    tuner: str,
    space: Space,
    objective: Objective,
    *,
    max_trials: int,
    seed: int,
    max_epochs: int,
    factor: int,
) -> Oracle:
    """Makes the oracle of a space that `check` has accepted.

    Args:
      tuner: one of TUNERS.
      max_trials: the largest number of trials; 0: 20 for random and bayesian, all for grid and
        hyperband.
      max_epochs, factor: those of keras-tuner's Hyperband; the other tuners ignore them.

    Raises:
      ConfigError: the tuner cannot search this space.
    """
    # Imported here, as keras-tuner takes seconds to import.
    from trainer.tune.search import keras_tuner_oracles

    row = TUNERS[tuner]
    settings = {"max_epochs": max_epochs, "factor": factor} if row.in_epochs else {}
    made = getattr(keras_tuner_oracles, row.oracle)(space, objective, seed, **settings)
    limit = max_trials or row.max_trials or math.inf
    made.check(limit)
    return Oracle(made, space, limit)
