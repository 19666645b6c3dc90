"""How does the objective depend on each single dimension?

`draw` plots the objective over each dimension, in a panel of its own.
"""

import itertools

from trainer.tune.results.plots.common import (
    BEST,
    POINT,
    Column,
    Sweep,
    mark_failed,
    scale_objective,
)

_COLUMNS = 4
_MIN_TICK_DISTANCE = 0.24  # As a share of a panel's width: the width of a number.
_MAX_CHARACTERS = 32  # That fit side by side under a panel.


def draw(sweep: Sweep):
    """A panel per dimension, with a point per trial."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(sweep.dimensions)
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    figure = Figure(figsize=(max(2.9 * columns, 4.5), 2.9 * rows), layout=layout)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    for number, axes in enumerate(panels):
        if number < count:
            _draw_panel(axes, sweep, sweep.column(sweep.dimensions[number], _MIN_TICK_DISTANCE))
            axes.set_xlabel(sweep.titles[number])
            if number % columns == 0:
                axes.set_ylabel(sweep.objective.name)
        else:
            axes.set_axis_off()
    figure.suptitle(sweep.headline, x=0.01, ha="left", fontsize=10)
    return figure


def _draw_panel(axes, sweep: Sweep, column: Column) -> None:
    axes.scatter(
        [column.positions[record.id] for record in sweep.scored],
        [record.objective for record in sweep.scored],
        s=18,
        color=POINT,
        linewidths=0,
        zorder=3,
        alpha=0.8 if len(sweep.scored) < 60 else 0.45,
    )
    if sweep.best:
        point = [column.positions[sweep.best.id]], [sweep.best.objective]
        axes.scatter(*point, s=110, marker="*", color=BEST, zorder=5)
    mark_failed(axes, [column.positions[record.id] for record in sweep.failed])
    scale_objective(axes, sweep)
    axes.set_xlim(min([*column.ticks, 0.0]) - 0.1, 1.1)
    _draw_ticks(axes, column)


def _draw_ticks(axes, column: Column) -> None:
    ticks = sorted(column.ticks.items())
    is_crowded = any(
        (right - left) * _MAX_CHARACTERS < (len(text) + len(other)) / 2 + 1
        for (left, text), (right, other) in itertools.pairwise(ticks)
    )
    rotation = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_crowded else {}
    axes.set_xticks([position for position, _ in ticks], [text for _, text in ticks], **rotation)
