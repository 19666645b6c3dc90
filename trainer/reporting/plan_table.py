"""How is a plan shown to people, and to programs? As a table with one sentence, and as JSON."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.estimate.cost_model import ENOUGH, Calibration, CostModel, Row, Variant, best
from trainer.reporting.format import align

Accuracies = Mapping[tuple[str, int], Mapping[str, float]]
"""Test metrics by the name of a variant and the number of logical replicas."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A row for each number of workers and variant; None where that number cannot divide the work."""

    rows: Mapping[tuple[int, Variant], Row | None]
    model: CostModel
    accuracies: Accuracies

    @property
    def possible(self) -> list[Row]:
        return [row for row in self.rows.values() if row]

    @property
    def recommended(self) -> Row:
        """Of an interval that the run itself chooses, only the shortest is certain."""
        shortest: dict[tuple[int, str], Row] = {}
        for row in self.possible:
            shortest.setdefault((row.workers, row.variant.name), row)
        return best(list(shortest.values()))

    def largest(self, name: str) -> int:
        """The most workers with which this variant is efficient enough; 0: none."""
        good = [
            r.workers for r in self.possible if r.variant.name == name and r.efficiency >= ENOUGH
        ]
        return max(good, default=0)


def lines(plan: Plan) -> list[str]:
    """The table of efficiencies, what was measured, the accuracies, and the recommendation."""
    names = list(dict.fromkeys(variant.name for _, variant in plan.rows))
    counts = list(dict.fromkeys(workers for workers, _ in plan.rows))
    table = [["workers", *names]]
    for workers in counts:
        cells = [_cell([r for (n, v), r in plan.rows.items() if (n, v.name) == (workers, name)])
                 for name in names]  # fmt: skip
        table.append([f"{workers:,}", *cells])
    table.append([f">= {ENOUGH:.0%}", *(f"{plan.largest(name):,}" for name in names)])
    return [
        "efficiency: examples per second and worker, as a share of those of one process",
        *align(table),
        "",
        f"measured   {_measured(plan.model)}",
        *(f"accuracy   {line}" for line in _accuracies(plan.accuracies)),
        f"plan       {sentence(plan)}",
    ]


def sentence(plan: Plan) -> str:
    """Which mode, which interval, how many workers."""
    row, single = plan.recommended, plan.model.single_rate
    text = (
        f"{row.variant.sentence} on {row.workers:,} worker{'' if row.workers == 1 else 's'}: "
        f"{row.examples_per_s:,.0f} examples per s, {row.examples_per_s / single:.1f} times one process, "
        f"at an efficiency of {row.efficiency:.0%}"
    )
    if metrics := plan.accuracies.get((row.variant.name, row.workers)):
        text += f", with {_shown(metrics)}"
    if row.efficiency < ENOUGH:
        text += f"; no row reaches {ENOUGH:.0%}"
    return text


def as_json(plan: Plan) -> dict[str, Any]:
    """All rows, what they follow from, and the recommendation."""
    return {
        "link": dataclasses.asdict(plan.model.link),
        "measured": dataclasses.asdict(plan.model.measured),
        "sizes": dataclasses.asdict(plan.model.sizes),
        "work": dataclasses.asdict(plan.model.work),
        "examples_per_s_of_one_process": plan.model.single_rate,
        "rows": [_row(row) for row in plan.possible],
        "accuracies": [
            {"mode": name, "replicas": number, **metrics}
            for (name, number), metrics in plan.accuracies.items()
        ],
        "recommended": _row(plan.recommended),
        "sentence": sentence(plan),
    }


def _row(row: Row) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    return {"workers": values.pop("workers"), **values.pop("variant"), **values}


def _cell(rows: Sequence[Row | None]) -> str:
    """One efficiency, or that of the shortest and that of the longest interval."""
    found = list(dict.fromkeys(f"{row.efficiency:.0%}" for row in rows if row))
    return "..".join(found) or "-"


def _measured(model: CostModel) -> str:
    measured: Calibration = model.measured
    window = f", a window {measured.window_s * 1e3:.1f} ms" if measured.window_s else ""
    return (
        f"a step {measured.step_s(model.work.batch) * 1e3:.3f} ms (its spread {measured.spread:.0%}), "
        f"with an exchange {measured.turn_s * 1e3:.3f} ms more, an agreement "
        f"{measured.agree_s * 1e3:.3f} ms, a message {measured.message_s * 1e6:.0f} us and "
        f"{measured.byte_s * 1e9:.2f} ns a byte{window}"
    )


def _accuracies(found: Accuracies) -> list[str]:
    return [
        f"{name}, {number:,} logical replicas: {_shown(metrics)}"
        for (name, number), metrics in found.items()
    ]


def _shown(metrics: Mapping[str, float]) -> str:
    name = "test_accuracy" if "test_accuracy" in metrics else "test_loss"
    return f"{name.replace('_', ' ')} {metrics[name]:.4f}"
