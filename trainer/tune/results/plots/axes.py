"""Where is a value's position on an axis?

`Axis` maps values to positions from 0 to 1: linearly, by the logarithm if the dimension is searched on a
log scale, and evenly for choices, in their order.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from trainer.reporting.format import canonical_text, format_value, one_line
from trainer.tune.search.record import Objective
from trainer.tune.space.dimension import Dimension

_MAX_TICKS = 12
_LABEL_WIDTH = 14
_MIN_LOG_RATIO = 50  # A loss whose worst is this many times its best has a log axis.


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of the numbers from `low` to `high`, or of `choices`, as canonical texts."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def of_dimension(cls, dimension: Dimension) -> "Axis":
        if dimension.kind == "choice":
            return cls(choices=tuple(dict.fromkeys(map(canonical_text, dimension.choices))))
        return cls(*dimension.bounds, dimension.log)

    @classmethod
    def of_objective(cls, objective: Objective, values: Iterable[float]) -> "Axis":
        """An axis of the objective. It is logarithmic for losses of different magnitudes."""
        values = list(values) or [0.0]
        low, high = min(values), max(values)
        return cls(
            low, high, objective.direction == "min" and low > 0 and high / low > _MIN_LOG_RATIO
        )

    def position(self, value: Any) -> float | None:
        """The position from 0 to 1; None if the value is not on this axis."""
        if self.choices:
            text = canonical_text(value)
            return self._choice_position(text) if text in self.choices else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        return self.number_position(value)

    def number_position(self, number: float) -> float:
        """The position of a finite number on an axis of numbers; it must be above 0 on a log axis."""
        if self.low == self.high:
            return 0.5
        low, high, scaled = map(self._scaled, (self.low, self.high, number))
        return min(max((scaled - low) / (high - low), 0.0), 1.0)

    def ticks(self, min_distance: float) -> dict[float, str]:
        """Positions and their labels. Those of numbers are at least `min_distance` apart."""
        if self.choices:
            labeled = self.choices[:: -(-len(self.choices) // _MAX_TICKS)]
            return {self._choice_position(one): one_line(one, _LABEL_WIDTH) for one in labeled}
        ticks: dict[float, str] = {}
        for value in (self.low, self.high, *self._round_numbers()):
            position = self.number_position(float(value))
            if all(abs(position - other) > min_distance for other in ticks):
                ticks[position] = format_value(float(value))
        return ticks

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def _choice_position(self, choice: str) -> float:
        return self.choices.index(choice) / (len(self.choices) - 1) if self.choices[1:] else 0.5

    def _round_numbers(self) -> list[float]:
        """Round numbers between `low` and `high`."""
        from matplotlib import ticker

        if self.log and self.high / self.low >= 100:
            values = ticker.LogLocator(numticks=7).tick_values(self.low, self.high)
        else:
            is_integer = isinstance(self.low, int) and isinstance(self.high, int)
            values = ticker.MaxNLocator(6, integer=is_integer).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low < value < self.high]
