"""Is what was handed over saved, as it was then, and is no error lost?"""

import numpy as np
import pytest

from strategies.runtime import State
from trainer.storage.background_save import BackgroundSaver
from trainer.storage.checkpoints import Checkpoint, CheckpointError, CheckpointStore, Layout


def _store(folder):
    return CheckpointStore(folder / "checkpoints", Layout(["w"], [["m"]]), keep=3)


def _checkpoint(step):
    value = np.full(1000, step, np.float32)
    return Checkpoint(step, State([value], [[value.copy()]]))


def test_what_training_changes_meanwhile_is_not_saved(tmp_path):
    store, checkpoint = _store(tmp_path), _checkpoint(5)
    with BackgroundSaver(store) as saver:
        saver.save(checkpoint)
        checkpoint.state.weights[0][:] = -1
        checkpoint.state.slots[0][0][:] = -1
    state = store.read(5).state
    assert (state.weights[0] == 5).all() and (state.slots[0][0] == 5).all()


def test_saves_follow_one_another_in_order(tmp_path):
    store = _store(tmp_path)
    with BackgroundSaver(store) as saver:
        for step in range(1, 9):
            saver.save(_checkpoint(step))
    assert store.steps() == [6, 7, 8]


def _save(folder, *steps, then=None):
    with BackgroundSaver(_store(folder)) as saver:
        for step in steps:
            saver.save(_checkpoint(step))
        if then:
            raise then


def _without_room(folder):
    (folder / "checkpoints").write_text("a file where the folder should be")
    return folder


@pytest.mark.parametrize("steps", [(1,), (1, 2)])
def test_a_failed_save_is_raised_by_the_next_call_or_at_the_end(steps, tmp_path):
    with pytest.raises(CheckpointError, match="took no checkpoint of step 1"):
        _save(_without_room(tmp_path), *steps)


def test_an_error_on_the_way_is_not_hidden_by_that_of_a_save(tmp_path):
    with pytest.raises(KeyError):
        _save(_without_room(tmp_path), 1, then=KeyError())


def test_a_save_is_due_so_long_after_the_last(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("trainer.storage.background_save.time.monotonic", lambda: now[0])
    with BackgroundSaver(_store(tmp_path), every_s=10) as saver:
        assert not saver.is_due
        now[0] += 11
        assert saver.is_due
        saver.save(_checkpoint(1))
        assert not saver.is_due
    with BackgroundSaver(_store(tmp_path)) as saver:
        now[0] += 1e6
        assert not saver.is_due
