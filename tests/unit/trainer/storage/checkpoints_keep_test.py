"""Which checkpoints are kept, and is one of another run refused?"""

import numpy as np
import pytest

from strategies.state import State
from trainer.storage.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from trainer.storage.layout import Layout


def _store(folder, keep=2, keep_best=True, **origin):
    layout = Layout(["w"], [["m"]])
    return CheckpointStore(folder / "checkpoints", layout, keep, keep_best, origin)


def _checkpoint(step, test_loss=None):
    value = np.full(3, step, np.float32)
    test = None if test_loss is None else {"loss": test_loss}
    return Checkpoint(
        step, State([value], [[value]]), {"loss": 0.1}, (0.1, 2.0, 3e-17), test, (4, 9)
    )


def test_every_field_is_read_as_it_was_saved(tmp_path):
    store = _store(tmp_path)
    store.save(_checkpoint(7, 0.1 + 0.2))
    found = store.read(7)
    expected = _checkpoint(7, 0.1 + 0.2)
    assert (found.step, found.metrics, found.sums) == (7, expected.metrics, expected.sums)
    assert (found.test, found.skipped) == (expected.test, expected.skipped)


def test_the_best_is_kept_with_the_newest(tmp_path):
    store = _store(tmp_path)
    for step, loss in enumerate([5.0, 1.0, 3.0, None, float("nan"), 2.0, None], start=1):
        store.save(_checkpoint(step, loss))
    assert store.steps() == [2, 6, 7]
    assert store.best().step == 2
    assert store.newest().step == 7


def test_a_better_checkpoint_replaces_the_best(tmp_path):
    store = _store(tmp_path)
    for step, loss in enumerate([3.0, 2.0, 9.0, 1.0, 9.0, 9.0], start=1):
        store.save(_checkpoint(step, loss))
    assert store.steps() == [4, 5, 6]


def test_without_keep_best_only_the_newest_are_kept(tmp_path):
    store = _store(tmp_path, keep_best=False)
    for step in range(1, 5):
        store.save(_checkpoint(step, float(step)))
    assert store.steps() == [3, 4]


def test_a_damaged_best_checkpoint_is_skipped_for_the_next_best(tmp_path):
    store = _store(tmp_path, keep=9)
    for step, loss in enumerate([2.0, 1.0, 3.0], start=1):
        store.save(_checkpoint(step, loss))
    (tmp_path / "checkpoints" / "step-0000000002" / "arrays.npz").write_bytes(b"")
    assert store.best().step == 1
    (tmp_path / "checkpoints" / "step-0000000001" / "manifest.json").write_bytes(b"{}")
    assert store.best().step == 3


def test_without_an_evaluation_there_is_no_best(tmp_path):
    store = _store(tmp_path)
    store.save(_checkpoint(1))
    assert store.best() is None


def test_a_checkpoint_of_another_run_is_named_and_skipped(tmp_path):
    mine, other = _store(tmp_path / "mine", seed=0), _store(tmp_path / "other", seed=1)
    mine.save(_checkpoint(1, 9.0))
    other.save(_checkpoint(2, 1.0))
    place = "checkpoints/step-0000000002"
    (tmp_path / "other" / place).rename(tmp_path / "mine" / place)
    with pytest.raises(CheckpointError) as caught:
        mine.read(2)
    assert "it is of another run, whose `seed` was 1, not 0." in str(caught.value)
    assert mine.newest().step == 1
    assert mine.best().step == 1
