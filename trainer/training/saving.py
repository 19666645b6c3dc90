"""When is the state of a run saved, beside where its schedule says so?

After some seconds, if the config asks for that. A state that is not finite is never saved.
"""

from collections.abc import Callable, Sequence

import numpy as np

from strategies.state import State
from trainer.storage.background_save import BackgroundSaver
from trainer.storage.checkpoints import Checkpoint
from trainer.training import nonfinite
from trainer.training.parts import RunParts


class Saving:
    """Saves through `saver`, which works in the background; None: another task writes.

    Args:
      parts: of the run: its runtime has the state, its policy says where and how often.
      flush_logs: makes what was logged safe before a checkpoint counts.
      look: is shown the weights that are saved, if anything is.
    """

    def __init__(
        self,
        parts: RunParts,
        flush_logs: Callable[[], None],
        look: Callable[[Sequence[np.ndarray]], None] | None,
    ):
        policy = parts.checkpoints
        self._every_s, self._runtime, self._look = policy.every_s, parts.runtime, look
        self._program = parts.computation.program
        store = policy.store
        self._saver = BackgroundSaver(store, policy.every_s, flush_logs) if store else None

    @property
    def is_due(self) -> bool:
        """Whether it is time for a save of which the schedule does not know.

        Where the state is an exchange with other tasks, all call it together and decide alike.
        """
        is_due = bool(self._saver and self._saver.is_due)
        if self._every_s and self._runtime.shares_state:
            return bool(self._runtime.broadcast(np.array([is_due]))[0])
        return is_due

    def save(self, checkpoint: Callable[[State], Checkpoint]) -> bool:
        """Saves what `checkpoint` makes of the state. False, on all tasks, where it is not finite."""
        state = self._runtime.view()
        if not self._runtime.all_agree(nonfinite.state_is_finite(state)):
            return False
        if self._look:
            self._look(state.weights)
        whole = self._runtime.joined(self._program.cut_axes, state)
        if self._saver:
            self._saver.save(checkpoint(whole))
        return True

    def flush(self) -> None:
        """Returns once everything is saved."""
        if self._saver:
            self._saver.flush()

    def close(self, error: type | None) -> None:
        """Ends it; `error`: what ends the run, if anything."""
        if self._saver:
            self._saver.__exit__(error)
