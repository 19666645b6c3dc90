"""What is in a trial's folder, and how is its progress read from there?

A `TrialFolder` is the workdir of a run, with the trial's config, and `log.txt`, the output of the run.
"""

import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from strategies.errors import os_reason
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.storage.atomic_files import (
    WorkdirError,
    flush_folder,
    make_folder,
    write_whole,
)
from trainer.storage.safe_reading import parse_json, read_json
from trainer.storage.workdir import Workdir
from trainer.tune.search.folded_trials import FOLD
from trainer.tune.search.record import COMPLETED
from trainer.tune.search.trial_source import Outcome, Progress

TRIALS = "trials"  # The folder of all trials, in that of the sweep.
UNFINISHED = ".new-"  # Where a trial's folder is prepared.
_MAX_TAIL_BYTES = 1 << 16
# From (event, metric) in metrics.jsonl to the metric's name in summary.json.
_NAMES = {("train", "loss"): "final_loss", ("train", "examples_per_s"): "examples_per_s"}
_PREFIXES = {"eval": "test", "validation": "validation"}


class TrialFolder:
    """The folder of a trial. `read_progress` remembers how far it has read."""

    def __init__(self, trials: pathlib.Path, trial_id: str):
        self.path = trials / _name(trial_id)
        self.workdir = Workdir(self.path)
        self.log = self.path / "log.txt"
        self._trials = trials
        self._read_to = 0
        self._metrics: dict[str, float] = {}

    def prepare(self, config: ExperimentConfig, continues: str) -> None:
        """Writes the config. A new folder starts with the checkpoints of the trial `continues`.

        Raises:
          WorkdirError: the folder cannot be written.
        """
        try:
            if not self.path.exists():
                make_folder(self.path.parent)
                with tempfile.TemporaryDirectory(dir=self._trials, prefix=UNFINISHED) as building:
                    run = pathlib.Path(building, "run")
                    run.mkdir()
                    if continues:
                        _copy_progress(self._trials / _name(continues), run)
                    os.replace(run, self.path)
                flush_folder(self.path.parent)
            write_whole(self.workdir.config, config_lib.to_json(config))
        except OSError as error:
            raise WorkdirError(
                f"`--workdir` cannot be written ({os_reason(error)}). Received: {str(self.path)!r}; "
                "make room there and run the same command again."
            ) from None

    def read_progress(self) -> Iterator[Progress]:
        """Yields what the run has reported since the last call, one item per report or evaluation."""
        for event in self._new_events():
            kind, values = event.get("event", ""), _numbers(event)
            step, epoch = values.pop("step", 0), values.pop("epoch", 0.0)
            values.pop("time", None)
            for metric, value in values.items():
                prefix = _PREFIXES.get(kind)
                name = f"{prefix}_{metric}" if prefix else _NAMES.get((kind, metric), "")
                if name:
                    self._metrics[name] = value
            if kind == "train" or kind in _PREFIXES:
                yield Progress(int(step), float(epoch), dict(self._metrics))

    def completed(self, seconds: float) -> Outcome | None:
        """The outcome, if the run has written its summary; else None. `seconds` were spent on it."""
        try:
            summary = read_json(self.workdir.summary)
            step, epochs = int(summary["steps"]), float(summary["epochs"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None
        metrics = _numbers(summary)
        return Outcome(COMPLETED, metrics, step, epochs, seconds=seconds)

    def log_size(self) -> int:
        """In bytes; 0 if there is no log."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0

    def last_line(self) -> str:
        """The last line that the run printed."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _new_events(self) -> Iterator[Mapping[str, Any]]:
        try:
            with open(self.workdir.metrics, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._read_to:
                    self._read_to = 0  # A resumed run has truncated it to its checkpoint.
                file.seek(self._read_to)
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return
        for line in lines:
            self._read_to += len(line) + 1
            try:
                event = parse_json(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


def _name(trial_id: str) -> str:
    """The trial's folder below that of all trials; the folds of one are beside each other in its own."""
    return trial_id.replace(FOLD, f"/{FOLD.removeprefix('-')}")


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if type(value) in (int, float) and math.isfinite(value)
    }


def _copy_progress(earlier: pathlib.Path, run: pathlib.Path) -> None:
    """Copies what a longer run resumes from. Without it, that run trains from the start, to the same
    weights."""
    checkpoints = Workdir(earlier).checkpoints
    if checkpoints.is_dir():
        shutil.copytree(checkpoints, Workdir(run).checkpoints, copy_function=_link)
    if Workdir(earlier).metrics.exists():
        shutil.copyfile(Workdir(earlier).metrics, Workdir(run).metrics)


def _link(source: str, target: str) -> None:
    """Links the file, as a checkpoint is never changed, so two folders may share its files."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
