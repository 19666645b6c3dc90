"""Where are a run's metrics written?

To the screen as one aligned line per event, to `metrics.jsonl` as one object per event, and to
TensorBoard. Every line is flushed, so a killed run keeps what it had written.
"""

import contextlib
import io
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.metrics import jsonl
from trainer.metrics.trackers import Trackers
from trainer.metrics.tuning_services import TuningServices
from trainer.process import report
from trainer.process.standard_json import to_json
from trainer.storage.atomic_files import flush_file, flush_folder, storing
from trainer.storage.workdir import Workdir

_FORMATS = {"loss": "{:.4f}", "accuracy": "{:.4f}"} | dict.fromkeys(
    ("examples_per_s", "agreements", "update_bytes"), "{:,.0f}"
)


class MetricWriter:
    """Writes the events of one task; with `workdir` None only to the screen."""

    def __init__(
        self, workdir: Workdir | None, name: str = "metrics", trackers: Trackers | None = None
    ):
        """`trackers` get the same events."""
        self._trackers = trackers or Trackers()
        self._file: io.FileIO | None = None
        self._board: Any = None
        self._is_common = not workdir  # The task with a workdir shows the same.
        self._services = TuningServices() if workdir and name == "metrics" else None
        if workdir:
            import tensorflow as tf

            self._tf = tf
            path = workdir.path / f"{name}.jsonl"
            with storing("metrics", path):
                self._file = open(path, "ab", buffering=0)  # noqa: SIM115
                flush_folder(workdir.path)
            self._board_folder = workdir.tensorboard / name
            with self._on_board():
                self._board = tf.summary.create_file_writer(str(self._board_folder))

    def write(self, event: str, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Writes one event: "train" or "eval", with its metrics. Raises WorkdirError."""
        report.event(
            event,
            line(event, step, epoch, values),
            {"step": step, "epoch": epoch, **values},
            is_common=self._is_common,
        )
        if self._file:
            record = {"event": event, "step": step, "epoch": epoch, **values, "time": time.time()}
            with storing("metrics", self._file.name):
                self._file.write(to_json(record).encode() + b"\n")
        if self._services:
            self._services.report(event, step, values)
        self._trackers.write(event, step, values)
        if self._board:
            with self._on_board():
                with self._board.as_default():
                    for name, value in values.items():
                        self._tf.summary.scalar(f"{event}/{name}", value, step=step)
                self._board.flush()

    def histograms(self, step: int, names: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
        """Writes how the numbers of each array are distributed. Raises WorkdirError."""
        if self._board:
            with self._on_board():
                with self._board.as_default():
                    for name, array in zip(names, arrays, strict=True):
                        self._tf.summary.histogram(f"weights/{name}", array, step=step)
                self._board.flush()

    def graph(self, graph: Callable[[], Any]) -> None:
        """Writes the TensorFlow graph that `graph` makes. Raises WorkdirError."""
        if self._board:
            traced = graph()
            with self._on_board(), self._board.as_default():
                self._tf.summary.graph(traced)

    def truncate_after_step(self, step: int) -> None:
        """Removes the lines of later steps: they are about to be repeated. Raises WorkdirError."""
        if self._file:
            with storing("metrics", self._file.name):
                jsonl.truncate_after_step(pathlib.Path(self._file.name), step)

    def flush(self) -> None:
        """Returns once the lines are on the disk. Raises WorkdirError."""
        if self._file:
            with storing("metrics", self._file.name):
                flush_file(self._file.fileno())

    def close(self) -> None:
        self._trackers.close()
        if self._file:
            try:
                self.flush()
            finally:
                self._file.close()
            with self._on_board():
                self._board.close()

    @contextlib.contextmanager
    def _on_board(self) -> Iterator[None]:
        """Inside it TensorBoard's files are written. Raises WorkdirError in place of TensorFlow's."""
        try:
            # Not on a TPU's host, if that is the default: it has other folders.
            with self._tf.device(None):
                yield
        except self._tf.errors.OpError as error:
            reason = OSError(f"{error.message.partition(chr(10))[0]}")
            with storing("TensorBoard's files", self._board_folder):
                raise reason from None


def line(event: str, step: int, epoch: float, values: Mapping[str, float]) -> str:
    """`train      | step    938 | epoch   1.00 | loss 0.2731 | …`, aligned from event to event."""
    shown = [f"{event:<10}", f"step {step:>7,}", f"epoch {epoch:>6.2f}"]
    for name, value in values.items():
        shown.append(f"{name.replace('_', ' ')} {_FORMATS.get(name, '{:.4g}').format(value)}")
    return " | ".join(shown)
