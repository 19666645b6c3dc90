"""Is a model that is not that of the other tasks, or of the workdir, refused with what differs?"""

import copy

import numpy as np
import pytest

from strategies.errors import ClusterError
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir
from trainer.training import model_identity

_MODEL = {
    "layers": {"dense": {"class": "Dense", "units": 8}, "drop": {"class": "Dropout", "rate": 0.5}},
    "weights": {"dense/kernel": "float32 [4, 8]"},
    "sources": {"recipe": "ab", "beside.py": "cd"},
}


def _other(**units):
    other = copy.deepcopy(_MODEL)
    other["layers"]["dense"] |= units
    other["sources"]["recipe"] = "ef"
    return other


class _Runtime:
    """Of a task whose leader has this architecture."""

    def __init__(self, of_leader):
        self._of_leader = of_leader
        self._shapes = []

    def broadcast(self, values):
        if values.dtype == np.uint8:
            (text,) = self._sent[1:]
            assert values.shape == text.shape  # As collectives need it.
            return text
        return self._sent[0]

    @property
    def _sent(self):
        recorded = []

        class Leader:
            def broadcast(self, values):
                recorded.append(values)
                return values

        model_identity.agree(Leader(), self._of_leader)
        return recorded


def test_equal_models_agree():
    model_identity.agree(_Runtime(_MODEL), copy.deepcopy(_MODEL))


@pytest.mark.parametrize("mine, theirs", [(16, 8), (8, 1000), (1000, 8)])
def test_a_task_with_another_model_is_told_what_differs(mine, theirs):
    with pytest.raises(ClusterError) as caught:
        model_identity.agree(_Runtime(_other(units=theirs)), _other(units=mine))
    assert f"`layers.dense.units` is {theirs} on the leader. Received: {mine}; " in str(
        caught.value
    )


def test_a_workdir_keeps_the_model_it_was_begun_with(tmp_path):
    workdir = Workdir(tmp_path)
    model_identity.record(workdir, _MODEL)
    model_identity.record(workdir, copy.deepcopy(_MODEL))
    with pytest.raises(WorkdirError) as caught:
        model_identity.record(workdir, _other(units=9))
    assert str(caught.value) == (
        "`--workdir` was begun with another model: `layers.dense.units` was 8. Received: 9 for "
        f"{str(tmp_path)!r}; choose another folder, or use the old recipe."
    )
    with pytest.raises(WorkdirError, match=r"`sources.recipe` was \"ab\"\. Received: \"ef\" "):
        model_identity.record(workdir, _other())


def test_a_damaged_record_is_written_again(tmp_path):
    (tmp_path / "model.json").write_text("{")
    model_identity.record(Workdir(tmp_path), _MODEL)
    with pytest.raises(WorkdirError):
        model_identity.record(Workdir(tmp_path), _other(units=9))
