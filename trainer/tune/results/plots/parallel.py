"""Which combinations of values lead to which objective?

`draw` plots parallel coordinates: an axis per dimension, and a line per trial.
"""

from collections.abc import Sequence

from trainer.reporting.format import format_metric
from trainer.tune.results.plots.common import BEST, FAINT, Column, Sweep, wrap_name
from trainer.tune.search.record import TrialRecord

_MIN_TICK_DISTANCE = 0.07  # As a share of an axis.
_AXIS_DISTANCE_IN = 1.35
_COLORMAP_SHARE = 0.95  # The last colors of the map are hard to see on white.


def draw(sweep: Sweep):
    """An axis per dimension and one for the objective, and a line across all axes per trial."""
    from matplotlib.figure import Figure

    columns = [sweep.column(dimension, _MIN_TICK_DISTANCE) for dimension in sweep.dimensions]
    # The width grows with the number of axes, and the height with the width, to fit a screen.
    width = max(_AXIS_DISTANCE_IN * (len(columns) + 1), 7.0)
    figure = Figure(figsize=(width, max(4.2, width / 4)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    bottom = min(min(column.ticks) for column in columns)
    axes.set(xlim=(-0.5, len(columns) + 0.5), ylim=(min(bottom, 0.0) - 0.04, 1.08))
    _draw_lines(axes, sweep, columns)
    for number, column in enumerate(columns):
        _draw_axis(axes, number, sweep.titles[number], column.ticks)
    _draw_axis(
        axes,
        len(columns),
        wrap_name(sweep.objective.name),
        sweep.objective_axis.ticks(_MIN_TICK_DISTANCE) if sweep.scored else {},
    )
    _draw_legend(axes, sweep, len(columns))
    return figure


def _draw_lines(axes, sweep: Sweep, columns: Sequence[Column]) -> None:
    """Draws worse trials first, so that better ones are on top of them."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    scored = sorted(sweep.scored, key=sweep.badness, reverse=True)
    failed = [_path(one, columns) for one in sweep.failed]
    axes.add_collection(
        LineCollection(failed, colors=FAINT, linestyles="dashed", linewidths=0.8, alpha=0.6)
    )
    paths = [[*_path(one, columns), (len(columns), sweep.height(one))] for one in scored]
    colors = colormaps["viridis"]([_COLORMAP_SHARE * sweep.badness(record) for record in scored])
    line_style = (
        {"linewidths": 1.3, "alpha": 0.85}
        if len(scored) < 60
        else {"linewidths": 0.9, "alpha": 0.35}
    )
    axes.add_collection(LineCollection(paths, colors=colors, **line_style))
    if sweep.best:
        numbers, heights = zip(*paths[scored.index(sweep.best)], strict=True)
        axes.plot(numbers, heights, color=BEST, linewidth=2.6, zorder=4)


def _path(record: TrialRecord, columns: Sequence[Column]) -> list[tuple[int, float]]:
    return [(number, column.positions[record.id]) for number, column in enumerate(columns)]


def _draw_axis(axes, x: int, title: str, ticks: dict[float, str]) -> None:
    axes.plot([x, x], [0, 1], color="#333333", linewidth=1.2, zorder=5)
    axes.text(x, 1.05, title, ha="center", va="bottom", zorder=6)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for height, text in ticks.items():
        axes.plot([x - 0.02, x], [height, height], color="#333333", linewidth=1.2, zorder=5)
        axes.text(
            x - 0.04,
            height,
            text,
            ha="right",
            va="center",
            fontsize=8,
            bbox=box,
            zorder=6,
        )


def _draw_legend(axes, sweep: Sweep, x: int) -> None:
    """Draws the color bar beside the objective's axis, and names the best trial."""
    from matplotlib import colormaps

    limits = axes.get_xlim(), axes.get_ylim()
    if sweep.objective_axis.low < sweep.objective_axis.high:
        heights = [[height / 255] for height in range(256)]
        goodness = heights if sweep.objective.direction == "max" else heights[::-1]
        colors = colormaps["viridis"](
            [[_COLORMAP_SHARE * (1 - one) for one in row] for row in goodness]
        )
        axes.imshow(colors, extent=(x + 0.03, x + 0.09, 0, 1), origin="lower", aspect="auto")
    if sweep.best:
        text = f"trial {sweep.best.id}\n{format_metric(sweep.best.objective)}"
        height = min(max(sweep.height(sweep.best), 0.05), 0.95)
        axes.text(x + 0.13, height, text, color=BEST, ha="left", va="center", weight="bold")
    if sweep.failed and x > 1:  # With a single axis a failed trial has no line.
        axes.text(-0.5, limits[1][0] - 0.02, "dashed: failed", color=FAINT, ha="left", va="top")
    axes.set(xlim=limits[0], ylim=limits[1])  # `imshow` sets the limits to its image.
