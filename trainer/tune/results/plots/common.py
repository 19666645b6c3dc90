"""What do the plots of a sweep share?"""

import dataclasses
import functools
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from trainer.reporting import format as format_lib
from trainer.tune.results.plots.axes import Axis
from trainer.tune.search.record import COMPLETED, FAILED, STOPPED, Objective, TrialRecord, best

POINT, BEST, FAINT = "#3b6fb6", "#d1495b", "#8a8a8a"
_ABSENT = -0.2  # Below an axis, where a trial lies whose values left this one out.


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Its trials, as every plot shows them."""

    objective: Objective
    records: list[TrialRecord]
    dimensions: list[Any]

    @functools.cached_property
    def ended(self) -> list[TrialRecord]:
        """In the order of ids. Those under way would move until the next look."""
        return [record for record in self.records if record.status in (COMPLETED, STOPPED, FAILED)]

    @functools.cached_property
    def scored(self) -> list[TrialRecord]:
        return [record for record in self.ended if _has_figure(record)]

    @functools.cached_property
    def failed(self) -> list[TrialRecord]:
        return [record for record in self.ended if not _has_figure(record)]

    @functools.cached_property
    def best(self) -> TrialRecord | None:
        return best(self.objective, self.scored)

    @functools.cached_property
    def axis(self) -> Axis:
        return Axis.along(self.objective, (record.objective for record in self.scored))

    @functools.cached_property
    def titles(self) -> list[str]:
        """A dimension's name in short lines."""
        names = format_lib.names(dimension.name for dimension in self.dimensions)
        return [wrapped(names[dimension.name]) for dimension in self.dimensions]

    def column(self, dimension: Any, apart: float) -> "Column":
        """Where each trial lies along a dimension, and the ticks there."""
        axis = Axis.of(dimension)
        places = {one.id: axis.place(one.values.get(dimension.name)) for one in self.ended}
        ticks = axis.ticks(apart)
        if None in places.values():
            ticks[_ABSENT] = "not set"
        return Column({id: _ABSENT if at is None else at for id, at in places.items()}, ticks)

    @functools.cached_property
    def headline(self) -> str:
        if self.best is None:
            return f"{self.objective.name}: no trial was completed"
        figure = format_lib.figure(self.best.objective)
        return f"best {self.objective.name} {figure} by trial {self.best.id}"

    def badness(self, record: TrialRecord) -> float:
        """0 for the best objective, 1 for the worst."""
        place = self.axis.place(record.objective)
        return 1 - place if self.objective.direction == "max" else place


class Column(NamedTuple):
    """A dimension as it is drawn: positions by trial, and what is written where."""

    places: dict[str, float]
    ticks: dict[float, str]


def _has_figure(record: TrialRecord) -> bool:
    figure = record.objective
    return record.status != FAILED and figure is not None and math.isfinite(figure)


def mark_failed(axes: Any, places: Sequence[float]) -> None:
    """Crosses at the bottom, whatever the objective's scale."""
    if places:
        spot = {"transform": axes.get_xaxis_transform(), "marker": "x", "s": 24, "zorder": 3}
        axes.scatter(
            places, [0.035] * len(places), color=FAINT, linewidths=1.2, label="failed", **spot
        )


def frame_objective(axes: Any, sweep: Sweep) -> None:
    """The scale of the objective, upwards, with room for what failed."""
    axes.margins(y=0.12)
    if not sweep.scored:
        axes.set(ylim=(0, 1), yticks=[])
    elif sweep.axis.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: format_lib.value(value))


def wrapped(name: str, width: int = 15) -> str:
    """Broken after `_` and dots, as names of fields have no spaces."""
    spaced = format_lib.line(name, 3 * width).replace("_", "_ ").replace(".", ". ")
    lines = textwrap.wrap(spaced, width + 1)
    return "\n".join(line.replace("_ ", "_").replace(". ", ".") for line in lines)
