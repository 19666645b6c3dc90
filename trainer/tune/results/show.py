"""How do people follow a sweep, and what do they find when it is over?"""

import pathlib
import time
from collections.abc import Sequence

from trainer.config import schema as config_lib
from trainer.tune.results import table as results_table
from trainer.tune.results import tensorboard as hparams
from trainer.tune.results.plots import write as plots
from trainer.tune.results.progress import Live
from trainer.tune.search.record import COMPLETED, FAILED, TrialRecord
from trainer.tune.search.search import Search

_LOOK_EVERY_S = 0.5


class Show:
    """Keeps the screen and the files of results as the search stands. Use as a context manager."""

    def __init__(
        self, folder: pathlib.Path, search: Search, dimensions: Sequence, planned: int | None
    ):
        self._folder, self._search, self._dimensions = folder, search, dimensions
        self._planned = planned
        self._live = Live()
        self._look_at = 0.0
        search.on_end = self._note_end

    def __enter__(self):
        records = self._search.records()
        self.say(f"tune: sweep in {self._folder}")
        if records:
            ended = sum(record.status == COMPLETED for record in records)
            self.say(f"tune: going on after {len(records)} trials, {ended} of them completed")
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        self._live.close()
        if kind is None:
            self._write_all()

    def say(self, line: str) -> None:
        """A line that stays on the screen."""
        self._live.say(line)

    def look(self) -> None:
        """Brings the screen up to date; call it as often as you like."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            search = self._search
            self._live.show(search.records(), self._planned, search.best(), search.objective)

    def _note_end(self, record: TrialRecord) -> None:
        self._write_results()
        name = self._search.objective.name
        if record.status == FAILED:
            self.say(f"tune: trial {record.id} failed: {record.error}")
        else:
            best = self._search.best()
            mark = ", the best so far" if best and best.id == record.id else ""
            self.say(
                f"tune: trial {record.id} {record.status}, {name} {record.objective:.4g}{mark} "
                f"({record.seconds:.1f} s)"
            )

    def _write_results(self) -> None:
        search = self._search
        best = search.best()
        config = config_lib.to_json(search.config(best.id)[0]) if best else None
        results_table.write(self._folder, search.objective, search.records(), config)

    def _write_all(self) -> None:
        search, folder = self._search, self._folder
        records = search.records()
        self._write_results()
        names = [dimension.name for dimension in self._dimensions]
        print(results_table.table(search.objective, records, names), flush=True)
        hparams.write(folder / "tensorboard", search.objective, records, self._dimensions)
        (folder / "plots").mkdir(exist_ok=True)
        plots.write(folder / "plots", search.objective, records, self._dimensions)
