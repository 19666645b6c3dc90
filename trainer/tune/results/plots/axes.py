"""Where does a value lie on an axis?

An axis runs from 0 to 1: along the logarithm where the dimension is searched so, and past choices evenly
spaced in the order they were given.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from trainer.reporting import format as format_lib
from trainer.tune.search.record import Objective

_MAX_TICKS = 12
_LABEL_WIDTH = 14
_LOG_FROM = 50


@dataclasses.dataclass(frozen=True)
class Axis:
    """The values from `low` to `high`, or the `choices`."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, dimension: Any) -> "Axis":
        if dimension.kind == "choice":
            return cls(choices=tuple(dict.fromkeys(map(format_lib.exact, dimension.choices))))
        return cls(dimension.low, dimension.high, dimension.log)

    @classmethod
    def along(cls, objective: Objective, figures: Iterable[float]) -> "Axis":
        """An axis of what was reached. Losses that differ by far are told apart by their logarithm."""
        figures = list(figures) or [0.0]
        low, high = min(figures), max(figures)
        return cls(low, high, objective.direction == "min" and low > 0 and high / low > _LOG_FROM)

    def place(self, value: Any) -> float | None:
        """Between 0 and 1; None for what has no place here."""
        if self.choices:
            return self._among(format_lib.exact(value))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        if self.low == self.high:
            return 0.5
        low, high, here = map(self._scaled, (self.low, self.high, value))
        return min(max((here - low) / (high - low), 0.0), 1.0)

    def ticks(self, apart: float) -> dict[float, str]:
        """Positions, those of numbers at least `apart`, and what is written there."""
        if self.choices:
            some = self.choices[:: -(-len(self.choices) // _MAX_TICKS)]
            return {self._among(one): format_lib.line(one, _LABEL_WIDTH) for one in some}
        found: dict[float, str] = {}
        for value in (self.low, self.high, *self._round()):
            here = self.place(float(value))
            if all(abs(here - other) > apart for other in found):
                found[here] = format_lib.value(float(value))
        return found

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def _among(self, choice: str) -> float | None:
        if choice not in self.choices:
            return None
        return self.choices.index(choice) / (len(self.choices) - 1) if self.choices[1:] else 0.5

    def _round(self) -> list[float]:
        """Round numbers between the ends."""
        from matplotlib import ticker

        if self.log and self.high / self.low >= 100:
            values = ticker.LogLocator(numticks=7).tick_values(self.low, self.high)
        else:
            are_whole = isinstance(self.low, int) and isinstance(self.high, int)
            values = ticker.MaxNLocator(6, integer=are_whole).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low < value < self.high]
