"""How is a checkpoint saved while training goes on?

The state is copied and handed to a thread, which packs, hashes and flushes it; training waits for a
save only where the one before is still under way. An error of the thread is raised by the next call.
"""

import concurrent.futures
import dataclasses
import time

import numpy as np

from strategies.runtime import State
from trainer.storage.checkpoints import Checkpoint, CheckpointStore


class BackgroundSaver:
    """Saves into a store. A context manager: at its end all is saved, or the error raised.

    `every_s`: seconds after a save at which the next is due; 0: never by time.
    """

    def __init__(self, store: CheckpointStore, every_s: float = 0.0):
        self._store = store
        self._every_s = every_s
        self._began = time.monotonic()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "save")
        self._under_way: concurrent.futures.Future | None = None

    @property
    def is_due(self) -> bool:
        return bool(self._every_s) and time.monotonic() - self._began >= self._every_s

    def save(self, checkpoint: Checkpoint) -> None:
        """Begins to save. Raises CheckpointError where the save before failed."""
        self.flush()
        self._began = time.monotonic()
        # A copy: training goes on in the arrays it was given.
        checkpoint = dataclasses.replace(checkpoint, state=_copy(checkpoint.state))
        self._under_way = self._thread.submit(self._store.save, checkpoint)

    def flush(self) -> None:
        """Waits until what was begun is on the disk. Raises CheckpointError where that failed."""
        under_way, self._under_way = self._under_way, None
        if under_way:
            under_way.result()

    def __enter__(self):
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._thread.shutdown()


def _copy(state: State) -> State:
    return State(
        [np.array(weight) for weight in state.weights],
        [[np.array(slot) for slot in own] for own in state.slots],
    )
