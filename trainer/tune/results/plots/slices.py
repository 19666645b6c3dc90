"""How does the objective go with each dimension alone?"""

import itertools

from trainer.tune.results.plots.common import (
    BEST,
    POINT,
    Column,
    Sweep,
    frame_objective,
    mark_failed,
)

_COLUMNS = 4
_APART = 0.24  # Of a panel's width: what a number needs.
_ROOM = 32  # Characters that fit side by side under a panel.


def draw(sweep: Sweep):
    """A panel for each dimension, with a point for each trial."""
    from matplotlib.figure import Figure

    count = len(sweep.dimensions)
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(2.9 * columns, 4.5), 2.9 * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    for place, axes in enumerate(panels):
        if place < count:
            _panel(axes, sweep, sweep.column(sweep.dimensions[place], _APART))
            axes.set_xlabel(sweep.titles[place])
            if place % columns == 0:
                axes.set_ylabel(sweep.objective.name)
        else:
            axes.set_axis_off()
    figure.suptitle(sweep.headline, x=0.01, ha="left", fontsize=10)
    return figure


def _panel(axes, sweep: Sweep, column: Column) -> None:
    axes.scatter(
        [column.places[record.id] for record in sweep.scored],
        [record.objective for record in sweep.scored],
        s=18,
        color=POINT,
        linewidths=0,
        zorder=3,
        alpha=0.8 if len(sweep.scored) < 60 else 0.45,
    )
    if sweep.best:
        spot = [column.places[sweep.best.id]], [sweep.best.objective]
        axes.scatter(*spot, s=110, marker="*", color=BEST, zorder=5)
    mark_failed(axes, [column.places[record.id] for record in sweep.failed])
    frame_objective(axes, sweep)
    axes.set_xlim(min([*column.ticks, 0.0]) - 0.1, 1.1)
    _write_ticks(axes, column)


def _write_ticks(axes, column: Column) -> None:
    ticks = sorted(column.ticks.items())
    is_crowded = any(
        (right - left) * _ROOM < (len(text) + len(other)) / 2 + 1
        for (left, text), (right, other) in itertools.pairwise(ticks)
    )
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_crowded else {}
    axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks], **turned)
