"""What do the plots of a sweep have in common?

They read the trials from `Sweep`, and mark the failed trials and the objective in the same way.
"""

import dataclasses
import functools
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from trainer.reporting.format import format_metric, format_value, one_line, short_names
from trainer.tune.results.plots.axes import Axis
from trainer.tune.search.record import COMPLETED, FAILED, STOPPED, Objective, TrialRecord, best
from trainer.tune.space.dimension import Dimension

POINT, BEST, FAINT = "#3b6fb6", "#d1495b", "#8a8a8a"
_NOT_SET = -0.2  # The position, below the axis, of trials without a value for this dimension.


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The trials that the plots show, and their objective."""

    objective: Objective
    records: list[TrialRecord]
    dimensions: list[Dimension]

    @functools.cached_property
    def ended(self) -> list[TrialRecord]:
        """The trials that have ended, ordered by id. A running trial would still move."""
        return [record for record in self.records if record.status in (COMPLETED, STOPPED, FAILED)]

    @functools.cached_property
    def scored(self) -> list[TrialRecord]:
        """The trials with a finite objective."""
        return [record for record in self.ended if _has_objective(record)]

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """The objectives of the scored trials by id."""
        return {one.id: one.objective for one in self.scored if one.objective is not None}

    @functools.cached_property
    def failed(self) -> list[TrialRecord]:
        return [record for record in self.ended if not _has_objective(record)]

    @functools.cached_property
    def best(self) -> TrialRecord | None:
        return best(self.objective, self.scored)

    @functools.cached_property
    def objective_axis(self) -> Axis:
        return Axis.of_objective(self.objective, self.scores.values())

    @functools.cached_property
    def titles(self) -> list[str]:
        """The name of each dimension, wrapped into short lines."""
        names = short_names(dimension.name for dimension in self.dimensions)
        return [wrap_name(names[dimension.name]) for dimension in self.dimensions]

    def column(self, dimension: Dimension, min_tick_distance: float) -> "Column":
        """The position of each trial along a dimension, and the dimension's ticks."""
        axis = Axis.of_dimension(dimension)
        positions = {one.id: axis.position(one.values.get(dimension.name)) for one in self.ended}
        ticks = axis.ticks(min_tick_distance)
        if None in positions.values():
            ticks[_NOT_SET] = "not set"
        return Column({id: _NOT_SET if at is None else at for id, at in positions.items()}, ticks)

    @functools.cached_property
    def headline(self) -> str:
        if self.best is None:
            return f"{self.objective.name}: no trial completed"
        value = format_metric(self.best.objective)
        return f"best {self.objective.name} {value} by trial {self.best.id}"

    def height(self, record: TrialRecord) -> float:
        """The position of a scored trial on the objective's axis."""
        return self.objective_axis.number_position(self.scores[record.id])

    def badness(self, record: TrialRecord) -> float:
        """0 for the best objective, 1 for the worst."""
        position = self.height(record)
        return 1 - position if self.objective.direction == "max" else position


class Column(NamedTuple):
    """How a dimension is drawn: the trials' positions by id, and the ticks' labels by position."""

    positions: dict[str, float]
    ticks: dict[float, str]


def _has_objective(record: TrialRecord) -> bool:
    value = record.objective
    return record.status != FAILED and value is not None and math.isfinite(value)


def mark_failed(axes: Any, positions: Sequence[float]) -> None:
    """Draws crosses at the bottom of the plot, independent of the objective's scale."""
    if positions:
        marker = {"transform": axes.get_xaxis_transform(), "marker": "x", "s": 24, "zorder": 3}
        axes.scatter(
            positions,
            [0.035] * len(positions),
            color=FAINT,
            linewidths=1.2,
            label="failed",
            **marker,
        )


def scale_objective(axes: Any, sweep: Sweep) -> None:
    """Sets the scale of the vertical axis, with room below for the failed trials."""
    axes.margins(y=0.12)
    if not sweep.scored:
        axes.set(ylim=(0, 1), yticks=[])
    elif sweep.objective_axis.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: format_value(value))


def wrap_name(name: str, width: int = 15) -> str:
    """The name in lines, broken after `_` and dots, as names of fields have no spaces."""
    spaced = one_line(name, 3 * width).replace("_", "_ ").replace(".", ". ")
    lines = textwrap.wrap(spaced, width + 1)
    return "\n".join(line.replace("_ ", "_").replace(". ", ".") for line in lines)
