"""What does the sweep look like?

matplotlib is used through its figures alone, without pyplot's state, and with its own defaults: what a
person has set for other work (TeX, fonts) is left out, and left alone.
"""

import contextlib
import importlib.util
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import logging

from trainer.storage.atomic_files import write_file
from trainer.tune.results.plots import over_trials, parallel, slices
from trainer.tune.results.plots.common import Sweep
from trainer.tune.results.table import in_order
from trainer.tune.search.record import Objective, TrialRecord

_STYLE = {
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
    "text.parse_math": False,  # A value may hold a dollar.
    "savefig.dpi": 120,
}


def write(
    folder: pathlib.Path,
    objective: Objective,
    records: Sequence[TrialRecord],
    dimensions: Sequence[Any],
) -> list[pathlib.Path]:
    """Writes the plots of a sweep; the files it wrote, none where matplotlib is missing.

    Raises:
      WorkdirError: they cannot be written.
    """
    if not importlib.util.find_spec("matplotlib"):
        logging.warning("no plots, as matplotlib is not installed: pip install 'muster[tune]'")
        return []
    sweep = Sweep(objective, in_order(records), list(dimensions))
    if not sweep.ended:
        return []
    with style():
        return [_written(folder / f"{name}.png", draw(sweep)) for name, draw in _plots(sweep)]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """What every plot is drawn under."""
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


def _written(path: pathlib.Path, figure: Any) -> pathlib.Path:
    image = io.BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight", pad_inches=0.15)
    write_file(path, image.getvalue())
    return path
