"""How does a page with one or several runs come about?

`write` reads their workdirs, draws their curves into common charts, and fills the template. The page is
one file: styles, script and pictures are in it.
"""

import dataclasses
import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

from trainer import __version__
from trainer.config import schema
from trainer.reporting.report import charts, run_view
from trainer.reporting.report.charts import Curve
from trainer.reporting.report.history import History, Series, read
from trainer.storage.atomic_files import WorkdirError, write_file
from trainer.storage.workdir import Workdir

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
# What values of a wrong type, or those that are missing, lead to.
_OF_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_FIRST = ("loss", "accuracy")
_LAST = ("learning_rate", "examples_per_s")
_EVENTS = ("train", "validation", "test", "evaluator")
_SECTIONS = {
    "result": "Result",
    "curves": "Curves",
    "time": "Time",
    "answers": "Answers",
    "data": "Data",
    "config": "Config",
    "versions": "Versions",
}


def write(
    workdirs: Sequence[Workdir], path: pathlib.Path, names: Sequence[str] = (), title: str = ""
) -> None:
    """Writes the page of these runs. Raises WorkdirError.

    Args:
      names: of the runs; by default parts of their folders' names.
      title: of the page; by default the names.
    """
    histories = [read(workdir) for workdir in workdirs]
    try:
        html = render(histories, names, title)
    except _OF_VALUES as error:
        given = ", ".join(workdir.name for workdir in workdirs)
        raise WorkdirError(
            "`--workdir` has a file of a run whose values cannot be drawn "
            f"({type(error).__name__}: {error}). Received: {given}; is summary.json or report.json "
            "damaged? Without the latter a page has less, but can be drawn."
        ) from None
    write_file(path, html)


def render(histories: Sequence[History], names: Sequence[str] = (), title: str = "") -> str:
    """The page as HTML, as for `write`."""
    import jinja2  # Here, as it takes a tenth of a second.

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    names = names or _names(histories)
    runs = [
        run_view.view(history, index, name)
        for index, (history, name) in enumerate(zip(histories, names, strict=True))
    ]
    axes = _axes(histories)
    drawn, legend = _charts(histories, names, axes)
    present = {
        "curves": bool(drawn),
        "time": any(run.tasks for run in runs),
        "answers": any(run.answers for run in runs),
        "data": any(run.shares for run in runs),
        "versions": any(run.versions for run in runs),
    }
    versions = [run for run in runs if run.versions]
    if len({tuple(run.versions) for run in versions}) == 1:
        versions = versions[:1]
    digests = {run.sha256 for run in runs}
    return environment.get_template("report.html.j2").render(
        title=title or _title(histories, names),
        folder=histories[0].name,
        runs=runs,
        sections=[(key, name) for key, name in _SECTIONS.items() if present.get(key, True)],
        columns=list(dict.fromkeys(name for run in runs for name, _ in run.figures)),
        same_weights=len(digests) == 1 and all(digests),
        charts=drawn,
        axes=axes,
        legend=legend,
        has_time=present["time"],
        has_answers=present["answers"],
        has_shares=present["data"],
        versions=versions,
        fields=_fields(histories),
        version=__version__,
        written=datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        style=_asset("report.css"),
        script=_asset("report.js"),
    )


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _names(histories: Sequence[History]) -> list[str]:
    """The last parts of their folders' names, or as much as tells them apart."""
    parts = [pathlib.PurePath(history.name).parts for history in histories]
    length = 1
    while len({one[-length:] for one in parts}) < len(parts) and length < 8:
        length += 1
    return ["/".join(one[-length:]) for one in parts]


def _title(histories: Sequence[History], names: Sequence[str]) -> str:
    return str(histories[0].config["name"]) if len(histories) == 1 else " · ".join(names)


def _axes(histories: Sequence[History]) -> list[str]:
    """By what curves are drawn. Of a single run, examples and bytes would be as its steps."""
    found = ["step", "time"]
    for axis in ("examples", "bytes") if len(histories) > 1 else ():
        if any(_place(history, axis, (1, 0.0, 0.0)) is not None for history in histories):
            found.append(axis)
    return found


def _place(history: History, axis: str, point: tuple[int, float, float]) -> float | None:
    """Where on an axis a point of a series is; None where the run does not tell."""
    step, time, _ = point
    if axis == "time":
        return max(time - history.began, 0.0)
    if axis == "step":
        return step
    return history.examples_at(step) if axis == "examples" else history.bytes_at(step)


def _charts(
    histories: Sequence[History], names: Sequence[str], axes: Sequence[str]
) -> tuple[list[dict[str, Any]], list[tuple[str, int, int]]]:
    """A chart for each number that was recorded, and the legend of all: (text, colour, dash)."""
    is_single = len(histories) == 1
    found: dict[str, list[tuple[Curve, Series, History]]] = {}
    legend: dict[tuple[int, int], str] = {}
    for index, history in enumerate(histories):
        for series in history.series:
            event = _EVENTS.index(series.event) if series.event in _EVENTS else 0
            color, dash = (event, min(event, 2)) if is_single else (index, min(event, 2))
            label = series.event if is_single else f"{names[index]}, {series.event}"
            legend.setdefault((color, dash), label)
            one = Curve(label, (), color, dash)
            found.setdefault(series.name, []).append((one, series, history))
    drawn = []
    for name in sorted(found, key=_rank):
        title = name.replace("_", " ").replace("examples per s", "examples per second")
        drawn.append(
            {"title": title, "by": {axis: _drawn(found[name], title, axis) for axis in axes}}
        )
    return drawn, [(text, *key) for key, text in sorted(legend.items())]


def _drawn(found: Sequence[tuple[Curve, Series, History]], title: str, axis: str) -> str:
    curves = []
    for one, series, history in found:
        places = [(_place(history, axis, point), point[2]) for point in series.points]
        known = [(x, value) for x, value in places if x is not None]
        if known:
            curves.append(dataclasses.replace(one, points=known))
    if not curves:
        return "These runs do not tell."
    return charts.lines(curves, title, {"time": "s", "bytes": "B"}.get(axis, ""))


def _rank(name: str) -> tuple[int, int]:
    if name in _FIRST:
        return 0, _FIRST.index(name)
    return (2, _LAST.index(name)) if name in _LAST else (1, 0)


def _fields(histories: Sequence[History]) -> list[tuple[str, list[str]]]:
    """Of one run the fields that have other values than by default; of several, in which they differ."""
    if len(histories) == 1:
        config, changed = histories[0].config, histories[0].facts.get("changed") or {}
        rows = []
        for field in schema.fields():
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            if config[field.name] != default and field.name not in ("name", "recipe"):
                who = "recipe"
                if field.name in changed:
                    who = f"command line; recipe: {run_view.value(changed[field.name][0])}"
                shown = [run_view.value(config[field.name]), run_view.value(default), who]
                rows.append((field.name, shown))
        return rows
    return [
        (name, [run_view.value(history.config[name]) for history in histories])
        for name in histories[0].config
        if len({run_view.value(history.config[name]) for history in histories}) > 1
    ]
