"""With which settings are pictures drawn, and how are they written?

With matplotlib's defaults and those below: the user's own (TeX, fonts) are neither used nor changed.
"""

import contextlib
import importlib.util
import io
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainer.storage.atomic_files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure
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

INSTALL = "matplotlib is not installed; run `pip install 'muster[tune]'`"


def is_possible() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


@contextlib.contextmanager
def plot_style() -> Iterator[None]:
    """Applies the settings with which all plots are drawn."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def write_figure(path: pathlib.Path, figure: "Figure") -> pathlib.Path:
    """Writes a figure in the format that its name ends in, inside `plot_style`. Raises WorkdirError."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:], bbox_inches="tight", pad_inches=0.15)
    write_file(path, image.getvalue())
    return path
