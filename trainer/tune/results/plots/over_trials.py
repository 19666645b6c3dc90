"""How did the objective go from trial to trial?"""

import itertools

from trainer.tune.results.plots.common import BEST, POINT, Sweep, frame_objective, mark_failed
from trainer.tune.search.record import COMPLETED, STOPPED

_MAX_LABELS = 12


def draw(sweep: Sweep):
    """A point for each trial, and the best so far as steps; what failed lies at the bottom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    places = {record.id: place for place, record in enumerate(sweep.ended)}
    _points(axes, sweep, places)
    _steps(axes, sweep, places)
    _frame(axes, sweep, list(places))
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


def _points(axes, sweep: Sweep, places: dict[str, int]) -> None:
    for status, face in ((COMPLETED, POINT), (STOPPED, "none")):
        some = [record for record in sweep.scored if record.status == status]
        if some:
            axes.scatter(
                [places[record.id] for record in some],
                [record.objective for record in some],
                s=26,
                facecolors=face,
                edgecolors=POINT,
                label=status,
                zorder=3,
            )
    mark_failed(axes, [places[record.id] for record in sweep.failed])


def _steps(axes, sweep: Sweep, places: dict[str, int]) -> None:
    if sweep.best is None:
        return
    completed = [record for record in sweep.scored if record.status == COMPLETED]
    choose = max if sweep.objective.direction == "max" else min
    heights = list(itertools.accumulate((record.objective for record in completed), choose))
    at = [places[record.id] for record in completed]
    line = {"where": "post", "color": BEST, "label": "best so far"}
    axes.step([*at, len(places) - 1], [*heights, heights[-1]], **line)
    axes.scatter(
        [places[sweep.best.id]], [sweep.best.objective], s=130, marker="*", color=BEST, zorder=5
    )


def _frame(axes, sweep: Sweep, ids: list[str]) -> None:
    frame_objective(axes, sweep)
    rounds = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    every = next(one for one in rounds if len(ids) <= one * _MAX_LABELS)
    axes.set_xticks(range(0, len(ids), every), ids[::every])
    margin = 0.5 + len(ids) / 80
    axes.set_xlim(-margin, len(ids) - 1 + margin)
    axes.set_xlabel("trial")
    axes.set_ylabel(sweep.objective.name)
    axes.set_title(sweep.headline, loc="left")
