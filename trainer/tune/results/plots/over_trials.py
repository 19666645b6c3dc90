"""How did the objective change from trial to trial?

`draw` plots the objective of each trial, and the best so far.
"""

import itertools

from trainer.tune.results.plots.common import BEST, POINT, Sweep, mark_failed, scale_objective
from trainer.tune.search.record import COMPLETED, STOPPED

_MAX_LABELS = 12


def draw(sweep: Sweep):
    """A point per trial, crosses at the bottom for failed ones, and the best so far as a step line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    positions = {record.id: number for number, record in enumerate(sweep.ended)}
    _draw_points(axes, sweep, positions)
    _draw_best_so_far(axes, sweep, positions)
    _label(axes, sweep, list(positions))
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


def _draw_points(axes, sweep: Sweep, positions: dict[str, int]) -> None:
    for status, face in ((COMPLETED, POINT), (STOPPED, "none")):
        shown = [record for record in sweep.scored if record.status == status]
        if shown:
            axes.scatter(
                [positions[record.id] for record in shown],
                [sweep.scores[record.id] for record in shown],
                s=26,
                facecolors=face,
                edgecolors=POINT,
                label=status,
                zorder=3,
            )
    mark_failed(axes, [positions[record.id] for record in sweep.failed])


def _draw_best_so_far(axes, sweep: Sweep, positions: dict[str, int]) -> None:
    if sweep.best is None:
        return
    completed = [record for record in sweep.scored if record.status == COMPLETED]
    choose = max if sweep.objective.direction == "max" else min
    heights = list(itertools.accumulate((sweep.scores[record.id] for record in completed), choose))
    steps = [positions[record.id] for record in completed]
    line = {"where": "post", "color": BEST, "label": "best so far"}
    axes.step([*steps, len(positions) - 1], [*heights, heights[-1]], **line)
    axes.scatter(
        [positions[sweep.best.id]], [sweep.best.objective], s=130, marker="*", color=BEST, zorder=5
    )


def _label(axes, sweep: Sweep, ids: list[str]) -> None:
    scale_objective(axes, sweep)
    round_numbers = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    every = next(one for one in round_numbers if len(ids) <= one * _MAX_LABELS)
    axes.set_xticks(range(0, len(ids), every), ids[::every])
    margin = 0.5 + len(ids) / 80
    axes.set_xlim(-margin, len(ids) - 1 + margin)
    axes.set_xlabel("trial")
    axes.set_ylabel(sweep.objective.name)
    axes.set_title(sweep.headline, loc="left")
