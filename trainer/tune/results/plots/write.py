"""Which plots does a sweep have, and how are they written?

`write_plots` draws three and writes them as PNG files. It uses matplotlib's figures without pyplot, and
matplotlib's default settings: the user's own (TeX, fonts) are neither used nor changed.
"""

import contextlib
import importlib.util
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from trainer.storage.atomic_files import write_file
from trainer.tune.results.plots import over_trials, parallel, slices
from trainer.tune.results.plots.common import Sweep
from trainer.tune.results.table import in_order
from trainer.tune.search.record import Objective, TrialRecord
from trainer.tune.space.dimension import Dimension

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

_STYLE: "dict[RcKeyType, bool | float | str]" = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "text.parse_math": False,  # A value may contain a dollar sign.
    "savefig.dpi": 120,
}


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
    if not importlib.util.find_spec("matplotlib"):
        logging.warning("no plots: matplotlib is not installed; run `pip install 'muster[tune]'`")
        return []
    sweep = Sweep(objective, in_order(records), list(dimensions))
    if not sweep.ended:
        return []
    with plot_style():
        return [_write(folder / f"{name}.png", draw(sweep)) for name, draw in _plots(sweep)]


@contextlib.contextmanager
def plot_style() -> Iterator[None]:
    """Applies the settings with which all plots are drawn."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _plots(sweep: Sweep) -> list[tuple[str, Callable]]:
    plots = [("objective_over_trials", over_trials.draw)]
    if sweep.dimensions:
        plots += [("parallel_coordinates", parallel.draw), ("slices", slices.draw)]
    return plots


def _write(path: pathlib.Path, figure: Any) -> pathlib.Path:
    image = io.BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight", pad_inches=0.15)
    write_file(path, image.getvalue())
    return path
