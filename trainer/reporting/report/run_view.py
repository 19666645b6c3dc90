"""How is one run shown on a page? `view` turns its history into texts and pictures for the template."""

import statistics
import types
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.reporting.format import format_duration, format_metric, format_value
from trainer.reporting.report import charts, time_view
from trainer.reporting.report.history import History
from trainer.reporting.report.scales import short

_MAX_WIDTH = 60  # Characters of a config's value.


def view(history: History, index: int, name: str) -> types.SimpleNamespace:
    """What the template needs of the run at this position of the page."""
    summary, facts = history.summary, history.facts
    state, kind = _state(history)
    figures = _figures(history)
    return types.SimpleNamespace(
        index=index,
        name=name,
        state=state,
        state_kind=kind,
        figures=figures,
        figure=lambda column: dict(figures).get(column, ""),
        strategy=summary.get("strategy") or facts.get("strategy") or "",
        reason=str(summary.get("reason") or facts.get("reason") or "").rstrip(".").replace("`", ""),
        sha256=summary.get("weights_sha256", ""),
        dataset=summary.get("dataset_description", ""),
        answers=[_answer(one, facts) for one in _outputs(facts)],
        shares=[
            {"title": title, "rows": _shares(shares), "labels": _labels(shares)}
            for title, shares in (
                ("", facts.get("shares", [])),
                (facts.get("partition_description", ""), facts.get("partition", [])),
            )
            if shares
        ],
        versions=[(key, value) for key, value in facts.get("versions", {}).items() if value],
        **({"tasks": []} | time_view.view(history.tasks)),
    )


def _state(history: History) -> tuple[str, str]:
    """What became of the run, and whether that is good."""
    summary = history.summary
    if summary:
        ended_by = ", ".join(summary.get("ended_by") or {})
        return f"finished{f', ended by {ended_by}' if ended_by else ''}", "good"
    ends = [event for task in history.tasks[:1] for event in task.events]
    if ends and ends[-1].kind == "end" and ends[-1].text not in ("finished", "stopped"):
        return f"failed: {ends[-1].text}", "bad"
    stopped = bool(ends) and ends[-1].kind == "end"
    return f"{'stopped' if stopped else 'not finished'} at step {history.last_step:,}", "open"


def _figures(history: History) -> list[tuple[str, str]]:
    """The main figure first."""
    summary, found = history.summary, {}
    for prefix in ("test", "validation"):
        named = {
            key: value
            for key, value in summary.items()
            if key.startswith(f"{prefix}_") and isinstance(value, int | float)
        }
        # A metric says more to people than the loss.
        for key in sorted(named, key=lambda one: one == f"{prefix}_loss"):
            found[key.replace("_", " ")] = format_metric(named[key])
    if not found:
        for series in history.series:
            if series.name in ("accuracy", "loss") and series.points:
                found[f"{series.event} {series.name}"] = format_metric(series.points[-1][2])
    found["steps"] = f"{summary.get('steps', history.last_step):,}"
    if "epochs" in summary:
        found["epochs"] = f"{summary['epochs']:,.4g}"
    if summary.get("examples_per_s"):
        found["examples/s"] = f"{summary['examples_per_s']:,.0f}"
    if history.tasks:
        found["wall time"] = format_duration(history.tasks[0].wall_s)
        found["goodput"] = f"{history.tasks[0].goodput:.0%}"
    if "update_bytes" in summary:
        found["bytes sent"] = f"{short(summary['update_bytes'])}B"
    for series in history.series:
        if series.name == "staleness":
            found["staleness"] = f"{statistics.fmean(one[2] for one in series.points):.3g}"
    if "epsilon" in summary:
        found["epsilon"] = f"{summary['epsilon']:.3g}"
    if history.facts.get("parameters"):
        found["parameters"] = f"{history.facts['parameters']:,}"
    return list(found.items())


def _outputs(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (facts.get("answers") or {}).get("outputs") or []


def _answer(one: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    count, total = facts["answers"]["examples"], facts["answers"]["of"]
    names = facts.get("class_names") or []
    asked = f"{total:,} test examples"
    if count < total:
        asked = f"the first {count:,} of {asked}"
    shown: dict[str, Any] = {"name": one["name"], "scatter": "", "confusion": [], "confused": []}
    if one["kind"] == "values":
        shown["text"] = f"Predictions for {asked}."
        shown["scatter"] = charts.scatter(one["pairs"], "Predictions by truth")
    else:
        shown["text"] = f"{one['right']:,} of {asked} are answered right."
        shown["confused"] = [
            [_name(truth, names), _name(answer, names), times]
            for truth, answer, times in one["confused"]
        ]
        shown["confusion"] = _confusion(one.get("confusion", []))
        shown["labels"] = [_name(label, names) for label in range(len(shown["confusion"]))]
    shown["worst"] = [_mistake(mistake, names) for mistake in one["worst"]]
    return shown


def _name(label: int, names: Sequence[str]) -> str:
    """That of a class, where it has one."""
    return names[label] if label < len(names) else str(label)


def _mistake(mistake: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    shown = {key: _values(mistake[key], names) for key in ("truth", "answer")}
    detail = f"{mistake['probability']:.2f}" if "probability" in mistake else ""
    return {"picture": "", "text": "", **mistake, **shown, "detail": detail}


def _values(value: Any, names: Sequence[str]) -> str:
    if isinstance(value, int):
        return _name(value, names)
    return ", ".join(f"{one:.3g}" for one in value) if isinstance(value, list) else str(value)


def _confusion(table: Sequence[Sequence[int]]) -> list[list[tuple[int, str]]]:
    """Each count with its shade: by the share of its row, right answers and mistakes apart."""
    return [
        [
            (count, _shade(count / (sum(row) or 1), row_index == index))
            for index, count in enumerate(row)
        ]
        for row_index, row in enumerate(table)
    ]


def _shade(share: float, is_right: bool) -> str:
    if not share:
        return ""
    if is_right:
        return f"s{1 + sum(share >= least for least in (0.3, 0.6, 0.85, 0.97))}"
    return f"e{1 + sum(share >= least for least in (0.04, 0.15))}"


def _labels(shares: Sequence[Mapping[str, Any]]) -> list[str]:
    found = {label for share in shares for label in share["labels"]}
    return sorted(
        found, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label)
    )


def _shares(shares: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A bar for each share: as long as its part of the largest, in the colours of its labels."""
    labels = _labels(shares)
    largest = max((share["examples"] for share in shares), default=1) or 1
    shown = []
    for share in shares:
        at, pieces = 0.0, list[charts.Piece]()
        for index, label in enumerate(labels):
            end = at + share["labels"].get(label, 0) / largest
            pieces.append(charts.Piece(at, end, f"l{index % 10}"))
            at = end
        pieces = pieces or [charts.Piece(0.0, share["examples"] / largest, "l0")]
        mix = ", ".join(f"{label}: {count}" for label, count in share["labels"].items())
        described = f"{share['name']}: {share['examples']:,} examples{f'; {mix}' if mix else ''}"
        strip = charts.strip(pieces, described)
        shown.append({"name": share["name"], "examples": f"{share['examples']:,}", "strip": strip})
    return shown


def value(one: Any) -> str:
    """A config's value on a page."""
    return format_value(tuple(one) if isinstance(one, list) else one, _MAX_WIDTH)
