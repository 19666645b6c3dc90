"""Which plots does a sweep have, and how are they written?

`write_plots` draws three and writes them as PNG files. It uses matplotlib's figures without pyplot.
"""

import pathlib
from collections.abc import Callable, Sequence

from absl import logging

from trainer.reporting.plot_style import INSTALL, is_possible, plot_style, write_figure
from trainer.tune.results.plots import over_trials, parallel, slices
from trainer.tune.results.plots.common import Sweep
from trainer.tune.results.table import in_order
from trainer.tune.search.record import Objective, TrialRecord
from trainer.tune.space.dimension import Dimension


def write_plots(
    folder: pathlib.Path,
    objective: Objective,
    records: Sequence[TrialRecord],
    dimensions: Sequence[Dimension],
) -> list[pathlib.Path]:
    """Writes the plots of a sweep, 120 dpi, and returns their paths.

    Nothing is written if matplotlib is not installed, or if no trial has ended.

    Raises:
      WorkdirError: a file cannot be written.
    """
    if not can_plot():
        return []
    sweep = Sweep(objective, in_order(records), list(dimensions))
    if not sweep.ended:
        return []
    with plot_style():
        return [write_figure(folder / f"{name}.png", draw(sweep)) for name, draw in _plots(sweep)]


def can_plot() -> bool:
    """Whether matplotlib is installed. Warns where it is not."""
    if is_possible():
        return True
    logging.warning("no plots: %s", INSTALL)
    return False


def _plots(sweep: Sweep) -> list[tuple[str, Callable]]:
    plots = [("objective_over_trials", over_trials.draw)]
    if sweep.dimensions:
        plots += [("parallel_coordinates", parallel.draw), ("slices", slices.draw)]
    return plots
