"""Where on an axis is a number, and which numbers are written there?

`Axis` maps values to pixels, and has round numbers for its ticks; logarithmic where values differ much.
"""

import dataclasses
import math
from collections.abc import Sequence

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LOG_FROM = 50.0  # Where the largest value is this many times the smallest.


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, drawn from pixel `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        fraction = (self._scaled(value) - low) / (high - low)
        return self.start + fraction * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round numbers."""
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = max(1, math.ceil((last - first) / count))
            powers = [10.0**power for power in range(first, last + 1, every)]
            if len([one for one in powers if self.low <= one <= self.high]) < 2:
                powers = [m * 10.0**p for p in range(first, last + 1) for m in (1, 2, 5)]
            return [one for one in powers if self.low <= one <= self.high]
        step = _round_step((self.high - self.low) / max(count, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def axis(values: Sequence[float], start: float, end: float, may_be_log: bool = False) -> Axis:
    """An axis on which all these values are, with a little room where it is not logarithmic."""
    low, high = min(values), max(values)
    if may_be_log and low > 0 and high / low > _LOG_FROM:
        return Axis(low / 1.1, high * 1.1, start, end, is_log=True)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        return Axis(min(2 * low, 0.0), max(2 * high, 0.0) if high else 1.0, start, end)
    return Axis(low, high, start, end)


def with_room(one: Axis, fraction: float = 0.06) -> Axis:
    """The axis with some room at both ends."""
    if one.is_log:
        return one
    room = (one.high - one.low) * fraction
    return dataclasses.replace(one, low=one.low - room, high=one.high + room)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(one * power for one in _STEPS if one * power >= rough * (1 - 1e-9))


def short(value: float) -> str:
    """A number for an axis: 0.25, 1.5k, 2M, 2.5e-5."""
    size = abs(value)
    if not size:
        return "0"
    if size < 1e-3:
        power = math.floor(math.log10(size))
        return f"{value / 10.0**power:.2g}e{power}"
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.4g}"
