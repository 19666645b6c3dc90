"""How is a checkpoint saved while training continues?

`BackgroundSaver` copies the state and hands it to a thread, which packs, hashes and flushes it. Training
waits only if the previous save is still in progress, or if other tasks send parts of the state. An error
in the thread is raised by the next call.
"""

import concurrent.futures
import copy
import dataclasses
import time
from collections.abc import Callable

from strategies.state import Lazy
from trainer.storage.checkpoints import Checkpoint, CheckpointStore


class BackgroundSaver:
    """Saves into a store. A context manager: on exit everything is saved, or the error is raised.

    Args:
      store: where they are saved.
      every_s: seconds after one save at which the next is due; 0: never due by time.
      before_save: called in the thread, before each save.
    """

    def __init__(
        self,
        store: CheckpointStore,
        every_s: float = 0.0,
        before_save: Callable[[], None] = lambda: None,
    ):
        self._store = store
        self._every_s = every_s
        self._before_save = before_save
        self._last_save = time.monotonic()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "save")
        self._in_progress: concurrent.futures.Future | None = None

    @property
    def is_due(self) -> bool:
        return bool(self._every_s) and time.monotonic() - self._last_save >= self._every_s

    def save(self, checkpoint: Checkpoint) -> None:
        """Starts to save. Raises CheckpointError, WorkdirError if the previous save failed."""
        self.flush()
        self._last_save = time.monotonic()
        arrives = any(isinstance(array, Lazy) for array in checkpoint.state.flat_arrays)
        if not arrives:
            # Training continues to change the arrays it was given. A deep copy has every part of a state.
            checkpoint = dataclasses.replace(checkpoint, state=copy.deepcopy(checkpoint.state))
        self._in_progress = self._thread.submit(self._save, checkpoint)
        if arrives:  # From tasks that train on only when they have sent all.
            self.flush()

    def flush(self) -> None:
        """Waits until the save in progress is on the disk. Raises CheckpointError if it failed."""
        in_progress, self._in_progress = self._in_progress, None
        if in_progress:
            in_progress.result()

    def _save(self, checkpoint: Checkpoint) -> None:
        self._before_save()
        self._store.save(checkpoint)

    def __enter__(self):
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._thread.shutdown()
