"""What is the result of a comparison, for people and for programs?

`ComparisonDisplay` shows a sweep over variants. At its end it prints a table with a line for each, draws
all runs as one page, `compare.html`, and writes `compare.json`.
"""

import dataclasses
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.process import console
from trainer.reporting.format import align, format_duration, format_metric, short_names
from trainer.reporting.report import page
from trainer.reporting.report.history import History, read
from trainer.reporting.report.scales import short
from trainer.storage.atomic_files import write_json
from trainer.storage.workdir import Workdir
from trainer.tune.comparison import NAME, Comparison, Variant
from trainer.tune.results.display import SweepDisplay
from trainer.tune.results.table import figures_of, in_order
from trainer.tune.search.record import COMPLETED, RUNNING, TrialRecord
from trainer.tune.search.search import Search

PAGE, RESULT = "compare.html", "compare.json"


@dataclasses.dataclass(frozen=True)
class Compared:
    """A variant, its trial, and what is known of its run."""

    variant: Variant
    record: TrialRecord
    history: History


class ComparisonDisplay(SweepDisplay):
    """As a sweep's, with a page, a table and a file of all variants as its result."""

    verb, what = "compare", "variants"

    def __init__(self, folder: pathlib.Path, search: Search, spec: Comparison):
        super().__init__(folder, search, spec.space.dimensions, spec.num_trials)
        self._spec = spec

    def _best(self) -> None:
        return None  # By which figure is for the reader to say.

    def _write_all(self) -> None:
        self._write_results()
        records = in_order(self._search.records())
        if len(records) < len(self._spec.variants) or any(one.status == RUNNING for one in records):
            return
        by_name = self._spec.by_name
        workdirs = [Workdir(self._folder / record.workdir) for record in records]
        variants = [by_name[record.values[NAME]] for record in records]
        runs = [*map(Compared, variants, records, map(read, workdirs))]
        console.print_outcome(table(runs))
        write_json(self._folder / RESULT, {"link": self._spec.link, **as_json(runs)})
        names = [variant.name for variant in variants]
        page.write(workdirs, self._folder / PAGE, names, self._spec.base.name)


def table(runs: Sequence[Compared]) -> str:
    """A line for each variant, in the order in which they were given."""
    names = list(dict.fromkeys(name for run in runs for name in figures_of(run.record)))
    costs = [name for name in _SHOWN if any(name in cost(run.history) for run in runs)]
    fields = runs[0].variant.values
    rows = [[*(short_names(fields)[field] for field in fields), *names, *costs, "time"]]
    for run in runs:
        measured, spent = figures_of(run.record), cost(run.history)
        time = format_duration(run.record.seconds)
        rows.append(
            [
                *run.variant.values.values(),
                *(format_metric(measured.get(name)) for name in names),
                *(_SHOWN[name](spent[name]) if name in spent else "" for name in costs),
                time if run.record.status == COMPLETED else run.record.status,
            ]
        )
    return "\n".join(align(rows))


def cost(history: History) -> dict[str, float]:
    """What the run has taken, by name; without what it does not have."""
    summary = history.summary
    reported = {one.name: [value for _, _, value in one.points] for one in history.series}
    ages = reported.get("staleness")
    found = {
        "steps": summary.get("steps"),
        "examples": history.examples_at(summary.get("steps", 0)),
        "agreements": summary.get("agreements"),
        "bytes": summary.get("update_bytes"),
        "staleness": statistics.fmean(ages) if ages else None,
        "max_staleness": max(reported.get("max_staleness", []), default=None),
        "epsilon": summary.get("epsilon"),
        "train_s": summary.get("seconds"),
    }
    return {name: value for name, value in found.items() if value is not None}


_SHOWN = {
    "examples": "{:,.0f}".format,
    "agreements": "{:,.0f}".format,
    "bytes": short,
    "staleness": format_metric,
    "epsilon": "{:.3g}".format,
}


def as_json(runs: Sequence[Compared]) -> dict[str, Any]:
    """What `compare.json` holds."""
    return {
        "variants": [
            {
                "name": run.variant.name,
                "values": dict(run.variant.values),
                "config": dict(run.variant.overrides),
                "status": run.record.status,
                "error": run.record.error,
                "metrics": figures_of(run.record),
                **cost(run.history),
                "seconds": round(run.record.seconds, 3),
                "share_sizes": run.history.summary.get("share_sizes", []),
                "weights_sha256": run.history.summary.get("weights_sha256", ""),
                "curves": _curves(run.history),
                "run": run.record.workdir,
            }
            for run in runs
        ]
    }


def _curves(history: History) -> Mapping[str, Any]:
    """By event and figure, a row for each evaluation."""
    return {
        f"{series.event}_{series.name}": [
            {
                "step": step,
                "examples": history.examples_at(step),
                "seconds": round(time - history.began, 3),
                "bytes": history.bytes_at(step),
                "value": value,
            }
            for step, time, value in series.points
        ]
        for series in history.evaluations
    }
