"""Is a state saved as it was at the call, and is every error raised?"""

import numpy as np
import pytest

from strategies.state import Lazy, State
from trainer.storage.background_save import BackgroundSaver
from trainer.storage.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from trainer.storage.layout import Layout


def _store(folder):
    return CheckpointStore(folder / "checkpoints", Layout(["w"], [["m"]]), keep=3)


def _checkpoint(step):
    value = np.full(1000, step, np.float32)
    return Checkpoint(step, State([value], [[value.copy()]]))


def test_changes_made_during_a_save_are_not_saved(tmp_path):
    store, checkpoint = _store(tmp_path), _checkpoint(5)
    with BackgroundSaver(store) as saver:
        saver.save(checkpoint)
        checkpoint.state.weights[0][:] = -1
        checkpoint.state.slots[0][0][:] = -1
    state = store.read(5).state
    assert (state.weights[0] == 5).all() and (state.slots[0][0] == 5).all()


def test_every_part_of_the_state_is_copied():
    class Store:
        def save(self, checkpoint):
            self.saved = checkpoint

    store, checkpoint = Store(), _checkpoint(5)
    checkpoint.state.later = {"averages": [np.zeros(3)]}  # As if State had a part more.
    with BackgroundSaver(store) as saver:
        saver.save(checkpoint)
        checkpoint.state.later["averages"][0][:] = -1
    assert (store.saved.state.later["averages"][0] == 0).all()


def test_saves_are_done_in_order(tmp_path):
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


def _with_a_file_in_the_way(folder):
    (folder / "checkpoints").write_text("a file where the folder should be")
    return folder


@pytest.mark.parametrize("steps", [(1,), (1, 2)])
def test_a_failed_save_is_raised_by_the_next_call_or_on_exit(steps, tmp_path):
    with pytest.raises(CheckpointError, match="could not store the checkpoint of step 1"):
        _save(_with_a_file_in_the_way(tmp_path), *steps)


def test_an_error_of_the_body_is_not_hidden_by_one_of_a_save(tmp_path):
    with pytest.raises(KeyError):
        _save(_with_a_file_in_the_way(tmp_path), 1, then=KeyError())


def test_a_save_is_due_every_s_seconds_after_the_last(tmp_path, monkeypatch):
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


def test_what_arrives_during_a_save_is_read_once_in_order_before_training_continues(tmp_path):
    read = []

    def lazy(name):
        value = np.full(3, len(name), np.float32)
        return Lazy([3], np.float32, lambda: read.append(name) or value)

    store = _store(tmp_path)
    with BackgroundSaver(store) as saver:
        saver.save(Checkpoint(5, State([lazy("w")], [[lazy("its slot")]])))
        assert read == ["w", "its slot"]
    state = store.read(5).state
    assert (state.weights[0] == 1).all() and (state.slots[0][0] == 8).all()
