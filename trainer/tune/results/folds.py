"""What is the result of a cross-validation, for people and for programs?

`FoldsDisplay` shows a sweep over folds. At its end it prints a table with a line for each fold, their
mean and their spread, and writes them to `cross_validation.json` and `plots/folds.png`. The spread is the
standard deviation of the folds' figures, with n - 1.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from strategies.errors import InputError
from trainer.process import console
from trainer.reporting.format import align, format_duration, format_metric
from trainer.reporting.plot_style import plot_style, write_figure
from trainer.storage.atomic_files import storing, write_json
from trainer.tune.results.display import SweepDisplay
from trainer.tune.results.plots.common import BEST, POINT
from trainer.tune.results.plots.write import can_plot
from trainer.tune.results.table import figures_of
from trainer.tune.search.record import COMPLETED, FAILED, TrialRecord

RESULT = "cross_validation.json"


class FoldsDisplay(SweepDisplay):
    """As a sweep's, with the means over the folds as its result."""

    verb, what = "cross_validate", "folds"

    def refresh(self) -> None:
        """As a sweep's. Raises InputError once a fold has failed."""
        check(self._search.records())
        super().refresh()

    def _best(self) -> None:
        return None  # No fold is better than another.

    def _write_all(self) -> None:
        self._write_results()
        records = sorted(self._search.records(), key=lambda record: record.values["data.fold"])
        done = [record for record in records if record.status == COMPLETED]
        if len(done) < len(records) or not done:
            return
        found = figures(done)
        console.print_outcome(table(done, found))
        write_json(self._folder / RESULT, as_json(done, found))
        plots = self._folder / "plots"
        with storing("the plots", plots):
            plots.mkdir(exist_ok=True)
            if can_plot():
                with plot_style():
                    write_figure(plots / "folds.png", draw(found))


def check(records: Sequence[TrialRecord]) -> None:
    """Raises InputError where a fold has failed: without it there is no mean."""
    for record in records:
        if record.status == FAILED:
            raise InputError(f"fold {_fold(record)} failed, so there is no mean: {record.error}")


def figures(records: Sequence[TrialRecord]) -> dict[str, list[float]]:
    """The values of each figure that all folds have, in their order: {"accuracy": [...], ...}."""
    each = [figures_of(record) for record in records]
    names = [name for name in each[0] if all(name in one for one in each)]
    return {name: [one[name] for one in each] for name in names}


def spread(values: Sequence[float]) -> float:
    """The standard deviation, with n - 1."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def table(records: Sequence[TrialRecord], found: Mapping[str, Sequence[float]]) -> str:
    """A line for each fold, then the mean and the spread."""
    rows = [["fold", *found, "steps", "time"]]
    for index, record in enumerate(records):
        own = [format_metric(values[index]) for values in found.values()]
        rows.append([_fold(record), *own, str(record.step), format_duration(record.seconds)])
    for name, of in (("mean", statistics.fmean), ("spread", spread)):
        rows.append([name, *(format_metric(of(values)) for values in found.values()), "", ""])
    return "\n".join(align(rows))


def as_json(records: Sequence[TrialRecord], found: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What `cross_validation.json` holds."""
    return {
        "folds": len(records),
        "metrics": {
            name: {
                "mean": statistics.fmean(values),
                "std": spread(values),
                "folds": [*values],
            }
            for name, values in found.items()
        },
        "runs": [record.workdir for record in records],
    }


def draw(found: Mapping[str, Sequence[float]]) -> Any:
    """A panel for each figure: a point for each fold, their mean, and a band of the spread."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(found), 3.4), layout="constrained")
    for axes, (name, values) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        mean, width = statistics.fmean(values), spread(values)
        axes.axhspan(mean - width, mean + width, color=BEST, alpha=0.12, linewidth=0)
        axes.axhline(mean, color=BEST, linewidth=1.2)
        axes.scatter(range(len(values)), values, color=POINT, s=30, zorder=3)
        axes.set(xticks=range(len(values)), xlabel="fold")
        axes.set_title(f"{name} {format_metric(mean)} ± {format_metric(width)}", loc="left")
    return figure


def _fold(record: TrialRecord) -> str:
    return str(record.values["data.fold"])
