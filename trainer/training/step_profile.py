"""Where does the time of a few steps go? `StepProfile` has TensorFlow trace them for TensorBoard.

The loops of every task end where the traced steps begin and end, so that nothing else is traced. A task
that does not see the workdir only does that.
"""

import pathlib

import tensorflow as tf
from absl import logging


class StepProfile:
    """`steps`: those to trace, counted from 0; none: nothing is traced. `folder`: where to."""

    def __init__(self, steps: range = range(0), folder: pathlib.Path | None = None):
        self._steps, self._folder = steps, folder
        self._is_running = False

    @property
    def cuts(self) -> frozenset[int]:
        """The steps before which a loop must end."""
        return frozenset((self._steps.start, self._steps.stop) if self._steps else ())

    def before(self, step: int) -> None:
        """Begins to trace, where `step` is to be traced."""
        if step not in self._steps or not self._folder or self._is_running:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            tf.profiler.experimental.start(str(self._folder))
            self._is_running = True
        except (OSError, tf.errors.OpError) as error:
            self._give_up(error)

    def ends_at(self, step: int) -> bool:
        """Whether the trace ends when `step` steps are done."""
        return self._is_running and step >= self._steps.stop

    def stop(self) -> None:
        """Writes what was traced so far, if anything was."""
        if not self._is_running:
            return
        self._is_running = False
        try:
            tf.profiler.experimental.stop()
            logging.info("profile | of steps %d to %d, in %s", *self._bounds(), self._folder)
        except (OSError, tf.errors.OpError) as error:
            self._give_up(error)

    def _bounds(self) -> tuple[int, int]:
        return self._steps.start, self._steps.stop

    def _give_up(self, error: Exception) -> None:
        self._folder = None
        reason = " ".join(str(error).split())
        logging.warning("steps %d to %d are not traced: %s", *self._bounds(), reason)
