"""Which values go together, and where do they lead?"""

from collections.abc import Sequence

from trainer.reporting import format as format_lib
from trainer.tune.results.plots.common import BEST, FAINT, Column, Sweep, wrapped
from trainer.tune.search.record import TrialRecord

_APART = 0.07
_INCHES_APART = 1.35
_SHADES = 0.95  # Of the colours: the last of them is hard to see on white.


def draw(sweep: Sweep):
    """An axis for each dimension and one for the objective; a line across them for each trial."""
    from matplotlib.figure import Figure

    columns = [sweep.column(dimension, _APART) for dimension in sweep.dimensions]
    # Twice as many dimensions are twice as wide, and higher, so that a screen still shows them well.
    width = max(_INCHES_APART * (len(columns) + 1), 7.0)
    figure = Figure(figsize=(width, max(4.2, width / 4)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    bottom = min(min(column.ticks) for column in columns)
    axes.set(xlim=(-0.5, len(columns) + 0.5), ylim=(min(bottom, 0.0) - 0.04, 1.08))
    _lines(axes, sweep, columns)
    for place, column in enumerate(columns):
        _axis(axes, place, sweep.titles[place], column.ticks)
    _axis(
        axes,
        len(columns),
        wrapped(sweep.objective.name),
        sweep.axis.ticks(_APART) if sweep.scored else {},
    )
    _key(axes, sweep, len(columns))
    return figure


def _lines(axes, sweep: Sweep, columns: Sequence[Column]) -> None:
    """The best over the better over the worse: what matters is not drawn over."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    scored = sorted(sweep.scored, key=sweep.badness, reverse=True)
    faint = {"colors": FAINT, "linestyles": "dashed", "linewidths": 0.8, "alpha": 0.6}
    axes.add_collection(LineCollection([_path(one, columns) for one in sweep.failed], **faint))
    ends = [sweep.axis.place(record.objective) for record in scored]
    paths = [
        [*_path(one, columns), (len(columns), end)] for one, end in zip(scored, ends, strict=True)
    ]
    colours = colormaps["viridis"]([_SHADES * sweep.badness(record) for record in scored])
    strength = (
        {"linewidths": 1.3, "alpha": 0.85}
        if len(scored) < 60
        else {"linewidths": 0.9, "alpha": 0.35}
    )
    axes.add_collection(LineCollection(paths, colors=colours, **strength))
    if sweep.best:
        across, heights = zip(*paths[scored.index(sweep.best)], strict=True)
        axes.plot(across, heights, color=BEST, linewidth=2.6, zorder=4)


def _path(record: TrialRecord, columns: Sequence[Column]) -> list[tuple[int, float]]:
    return [(place, column.places[record.id]) for place, column in enumerate(columns)]


def _axis(axes, place: int, title: str, ticks: dict[float, str]) -> None:
    axes.plot([place, place], [0, 1], color="#333333", linewidth=1.2, zorder=5)
    axes.text(place, 1.05, title, ha="center", va="bottom", zorder=6)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for height, text in ticks.items():
        axes.plot([place - 0.02, place], [height, height], color="#333333", linewidth=1.2, zorder=5)
        axes.text(
            place - 0.04,
            height,
            text,
            ha="right",
            va="center",
            fontsize=8,
            bbox=box,
            zorder=6,
        )


def _key(axes, sweep: Sweep, place: int) -> None:
    """What the colours mean, beside the objective's axis, and which trial is the best."""
    from matplotlib import colormaps

    limits = axes.get_xlim(), axes.get_ylim()
    if sweep.axis.low < sweep.axis.high:
        heights = [[height / 255] for height in range(256)]
        goodness = heights if sweep.objective.direction == "max" else heights[::-1]
        colours = colormaps["viridis"]([[_SHADES * (1 - one) for one in row] for row in goodness])
        axes.imshow(
            colours, extent=(place + 0.03, place + 0.09, 0, 1), origin="lower", aspect="auto"
        )
    if sweep.best:
        text = f"trial {sweep.best.id}\n{format_lib.figure(sweep.best.objective)}"
        height = min(max(sweep.axis.place(sweep.best.objective), 0.05), 0.95)
        axes.text(place + 0.13, height, text, color=BEST, ha="left", va="center", weight="bold")
    if sweep.failed and place > 1:  # One axis makes no line.
        axes.text(-0.5, limits[1][0] - 0.02, "dashed: failed", color=FAINT, ha="left", va="top")
    axes.set(xlim=limits[0], ylim=limits[1])  # An image would have the axes fit it alone.
