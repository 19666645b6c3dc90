"""Which values come next?

keras-tuner's oracles say so. Here they are asked and told one trial at a time, and can be brought
back to where they were by a journal of what they answered. None of it touches the disk.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from strategies.errors import InputError
from trainer.config.fields import short_json
from trainer.tune.search.record import Objective
from trainer.tune.space.space import Space

if TYPE_CHECKING:
    from trainer.tune.search.keras_tuner_oracles import ReplayableOracle
from trainer.cli.tuners import TUNERS

_OWN = "tuner/"  # What Hyperband adds to the values of a trial.


class Suggestion(NamedTuple):
    """A trial to make. `values` are keras-tuner's, of the dimensions that are active in it.

    Hyperband says how many `epochs` it lasts in all, and which trial it `continues`, or "".
    """

    id: str
    values: Mapping[str, Any]
    epochs: int | None = None
    continues: str = ""


class Oracle:
    """Says which trial is next, given all that was asked and told before. Not safe among threads.

    The same events in the same order give the same answers. `is_exhausted` is set once `ask` has
    nothing more to say, whatever the trials under way come to.
    """

    def __init__(self, tuner: "ReplayableOracle", space: Space, max_trials: float):
        self.is_exhausted = False
        self._tuner, self._space = tuner, space
        self._max_trials = max_trials

    def ask(self) -> Suggestion | None:
        """The next trial; None where there is none, be it for now."""
        has_room = len(self._tuner.trials) < self._max_trials
        values = self._suggest() if has_room and not self.is_exhausted else None
        if values is None:
            is_waiting = has_room and self._tuner.waits and self._tuner.ongoing_trials
            self.is_exhausted = self.is_exhausted or not is_waiting
            return None
        return self._begin(values)

    def tell(self, trial_id: str, score: float | None) -> None:
        """Says how good a trial was, be it stopped halfway; None or NaN: it failed."""
        is_score = score is not None and math.isfinite(score)
        self._tuner.end(trial_id, score if is_score else None)

    def replay(self, recorded: Suggestion) -> None:
        """Does what the `ask` did that gave this answer, at no more than the cost of a random one.

        Raises:
          InputError: the answer would be another today.
        """
        if self._tuner.is_quick:
            values = self._suggest()
            is_same = values is not None and self._suggestion(values) == recorded
        else:  # What was suggested once is taken as it is, if only it could have been.
            values = recorded.values
            is_same = self._suggestion(values) == recorded and self._space.holds(values)
        if not is_same:
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
        searched = {name: value for name, value in values.items() if not name.startswith(_OWN)}
        epochs, continues = values.get(f"{_OWN}epochs"), values.get(f"{_OWN}trial_id", "")
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
    """The oracle of a checked space.

    Args:
      tuner: one of TUNERS.
      max_trials: how many trials it gives out at most; 0: 20 for random and bayesian, and as many as
        there are for grid and hyperband.
      max_epochs, factor: as keras-tuner's Hyperband has them; the others do not read them.

    Raises:
      ConfigError: the tuner cannot search this space.
    """
    from trainer.tune.search import (
        keras_tuner_oracles,  # Late: keras-tuner takes seconds to import.
    )

    row = TUNERS[tuner]
    settings = {"max_epochs": max_epochs, "factor": factor} if row.in_epochs else {}
    made = getattr(keras_tuner_oracles, row.oracle)(space, objective, seed, **settings)
    limit = max_trials or row.max_trials or math.inf
    made.check(limit)
    return Oracle(made, space, limit)
