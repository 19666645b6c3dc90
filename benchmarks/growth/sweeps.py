"""What does a sweep itself cost for each of its trials, as there are more of them?

Processor time without the trials' own: suggesting values, the ledger, and the result files after each
trial. Then the sweep is opened again, as after a kill.
"""

import pathlib
import tempfile
import time
from collections.abc import Iterable, Iterator

from benchmarks.growth.made_sweep import MadeSweep
from benchmarks.growth.part import Part

_MOST = {"bayesian": 100}  # It fits a model for each trial, to all before it.


def _rows(sizes: Iterable[float]) -> Iterator[list[str]]:
    from trainer.tune.results.display import SweepDisplay

    for trials in map(int, sizes):
        for tuner in ("random", "grid", "hyperband", "bayesian"):
            if trials > _MOST.get(tuner, trials):
                yield PART.failed(f"{trials:,}", f"{tuner}: not measured, at most {_MOST[tuner]}")
                continue
            with tempfile.TemporaryDirectory() as folder:
                made = MadeSweep(pathlib.Path(folder), tuner, trials)
                with made.search() as search:
                    display = SweepDisplay(
                        pathlib.Path(folder), search, made.space.dimensions, trials
                    )
                    display.print_line = lambda line: None  # type: ignore[method-assign]
                    began = time.process_time()
                    count = made.run(search, display.refresh)
                    seconds = time.process_time() - began
                began = time.process_time()
                with made.search():
                    opened_s = time.process_time() - began
            cells = [f"{1e3 * seconds / count:.2f}", f"{opened_s:.2f}"]
            yield [f"{count:,}", tuner, *cells, f"{1e3 * opened_s / count:.2f}"]


PART = Part(
    "the processor time of a sweep without that of its trials",
    ("trials", "tuner", "ms a trial", "seconds to resume", "ms a trial to resume"),
    (10, 100, 1_000),
    _rows,
)
