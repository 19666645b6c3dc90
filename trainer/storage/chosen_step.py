"""Which checkpoint of a run does a command take? The newest, or the best one that was evaluated."""

from trainer.storage.checkpoints import CheckpointError, CheckpointStore
from trainer.storage.workdir import Workdir


def chosen_step(store: CheckpointStore, workdir: Workdir, is_best: bool) -> int:
    """The step of the newest checkpoint, or of the best. Raises CheckpointError."""
    found = store.best() if is_best else store.newest()
    if found is None:
        lacks = "no checkpoint that was evaluated" if is_best else "no checkpoint"
        raise CheckpointError(
            f"`--workdir` holds {lacks}. Received: {workdir.name!r}; train there first."
        )
    return found.step
