"""What do the shares of the data look like? A bar for each, of its classes, above its divergence.

`write` draws a PNG or SVG file with matplotlib, by the ending of its name.
"""

import pathlib
from typing import Any

import numpy as np

from trainer.order.label_mix import LabelMix
from trainer.order.partition import Partition
from trainer.reporting.format import one_line
from trainer.reporting.plot_style import plot_style, write_figure

ENDINGS = (".png", ".svg")
_MAX_CLASSES = 20  # Of many classes the most frequent, and all others as one.
_TITLE_WIDTH = 110


def write(path: pathlib.Path, partition: Partition, mix: LabelMix | None) -> None:
    """Raises WorkdirError where the file cannot be written."""
    with plot_style():
        write_figure(path, draw(partition, mix))


def draw(partition: Partition, mix: LabelMix | None) -> Any:
    """Stacked bars of the classes of each share and, where there are classes, their divergence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.8 if mix else 3.2), layout="constrained")
    ratios = {"height_ratios": (3, 1)} if mix else None
    axes = figure.subplots(2 if mix else 1, 1, sharex=True, squeeze=False, gridspec_kw=ratios)[:, 0]
    _draw_sizes(axes[0], partition, mix)
    if mix:
        axes[1].bar(range(len(partition.shares)), mix.divergence, color="#3b6fb6", width=0.8)
        axes[1].set(ylabel="divergence (bits)", ylim=(0, 1))
    axes[-1].set_xlabel("share")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(one_line(str(partition), _TITLE_WIDTH), x=0.01, ha="left", fontsize=10)
    return figure


def _draw_sizes(axes: Any, partition: Partition, mix: LabelMix | None) -> None:
    from matplotlib import colormaps

    places = np.arange(len(partition.shares))
    names, counts = _shown(mix) if mix else (["examples"], np.array(partition.sizes)[:, np.newaxis])
    colors = colormaps["tab10" if len(names) <= 10 else "tab20"]
    bottom = np.zeros(len(places))
    for number, name in enumerate(names):
        color = colors(number % colors.N)
        axes.bar(places, counts[:, number], bottom=bottom, color=color, width=0.8, label=name)
        bottom += counts[:, number]
    axes.set_ylabel("examples")
    if mix:
        axes.legend(
            title="label", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8
        )


def _shown(mix: LabelMix) -> tuple[list[str], np.ndarray]:
    """The names and counts of the classes with a color of their own."""
    if len(mix.names) <= _MAX_CLASSES:
        return [*mix.names], mix.counts
    most = np.sort(np.argsort(-mix.counts.sum(axis=0), kind="stable")[: _MAX_CLASSES - 1])
    counts = mix.counts[:, most]
    others = mix.counts.sum(axis=1) - counts.sum(axis=1)
    return [*(mix.names[one] for one in most), "others"], np.column_stack([counts, others])
