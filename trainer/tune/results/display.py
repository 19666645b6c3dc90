"""How does a person follow a sweep, and which results are there at its end?

`SweepDisplay` shows the progress, and writes the tables, TensorBoard's files and the plots.
"""

import pathlib
import time
from collections.abc import Sequence

from trainer.config.schema import to_json
from trainer.process import console, event_stream
from trainer.storage.atomic_files import storing
from trainer.tune.results.plots.write import write_plots
from trainer.tune.results.progress import SweepProgress
from trainer.tune.results.table import Line, format_table, write_results
from trainer.tune.results.tensorboard import write_events
from trainer.tune.search.record import COMPLETED, FAILED, TrialRecord
from trainer.tune.search.search import Search
from trainer.tune.space.dimension import Dimension

_REFRESH_INTERVAL_S = 0.5


class SweepDisplay:
    """Keeps the screen and the result files up to date with a search. Use as a context manager.

    Leaving it without an error prints the table of trials and writes all results.
    """

    verb, what = "tune", "sweep"  # How lines begin, and what they call it.

    def __init__(
        self,
        folder: pathlib.Path,
        search: Search,
        dimensions: Sequence[Dimension],
        num_trials: int | None,
    ):
        """`num_trials`: the largest possible number, or None if it is not known."""
        self._folder, self._search, self._dimensions = folder, search, dimensions
        self._num_trials = num_trials
        self._progress = SweepProgress()
        self._refresh_at = 0.0
        self._lines: dict[str, Line] = {}
        search.on_trial_end = self._report_end

    def __enter__(self):
        records = self._search.records()
        self.print_line(f"{self.verb}: {self.what} in {self._folder}")
        if records:
            completed = sum(record.status == COMPLETED for record in records)
            self.print_line(
                f"{self.verb}: resuming after {len(records)} trials, {completed} completed"
            )
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        if kind is None:
            self._write_all()

    def print_line(self, line: str) -> None:
        """Prints a line that stays on the screen. Safe to call from any thread."""
        self._progress.print_line(line)

    def refresh(self) -> None:
        """Updates the screen. May be called at any rate."""
        if time.monotonic() >= self._refresh_at:
            self._refresh_at = time.monotonic() + _REFRESH_INTERVAL_S
            search = self._search
            self._progress.update(
                search.records(), self._num_trials, self._best(), search.objective
            )

    def _best(self) -> TrialRecord | None:
        """The trial to point out."""
        return self._search.best()

    def _report_end(self, record: TrialRecord) -> None:
        self._write_results()
        event_stream.write(
            {
                "event": "trial",
                "id": record.id,
                "status": record.status,
                "objective": record.objective,
                "values": record.values,
                "seconds": record.seconds,
                "error": record.error,
            }
        )
        name = self._search.objective.name
        if record.status == FAILED:
            self.print_line(f"{self.verb}: trial {record.id} failed: {record.error}")
        else:
            best = self._best()
            mark = ", the best so far" if best and best.id == record.id else ""
            self.print_line(
                f"{self.verb}: trial {record.id} {record.status}, {name} {record.objective:.4g}{mark} "
                f"({record.seconds:.1f} s)"
            )

    def _write_results(self) -> None:
        search = self._search
        best = self._best()
        config = to_json(search.config(best.id)[0]) if best else None
        write_results(self._folder, search.objective, search.records(), config, self._lines)

    def _write_all(self) -> None:
        search, folder = self._search, self._folder
        records = search.records()
        self._write_results()
        names = [dimension.name for dimension in self._dimensions]
        console.print_outcome(format_table(search.objective, records, names))
        board, plots = folder / "tensorboard", folder / "plots"
        with storing("TensorBoard's files", board):
            write_events(board, search.objective, records, self._dimensions)
        with storing("the plots", plots):
            plots.mkdir(exist_ok=True)
            write_plots(plots, search.objective, records, self._dimensions)
