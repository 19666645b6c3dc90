"""Are the values in the summary correct?"""

import json
from types import SimpleNamespace

import numpy as np

from strategies.devices import threads
from strategies.state import State
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset, Split
from trainer.reporting import summary as summary_lib
from trainer.storage.workdir import Workdir
from trainer.training.result import Result


def _dataset(num_classes=0, truth=None):
    split = Split(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32))
    return Dataset("made_up", split, split, num_classes, 2, "made up.", truth=truth)


def _result(weights):
    return Result(
        finished=True,
        step=8,
        epochs=2.0,
        train={"loss": 0.5},
        test={"loss": 0.25, "accuracy": 0.75},
        examples_per_s=100.0,
        state=State(weights, []),
        weights_sha256="5" * 64,
    )


def _write(tmp_path, dataset, weights):
    runtime = SimpleNamespace(
        name="mirrored",
        reason="why",
        sync_mode="gradients",
        num_replicas=2,
        exchanged=lambda steps: {"agreements": steps},
    )
    workdir = Workdir(tmp_path)
    given = summary_lib.write(
        workdir, ExperimentConfig("x"), dataset, runtime, _result(weights), 3.0
    )
    assert json.loads(workdir.summary.read_text()) == given
    return given


def test_the_distance_to_the_teacher_is_the_largest_difference_of_any_weight():
    truth = {"kernel": np.array([[1.0, 2], [3, 4]]), "bias": np.array([0.0, -1])}
    weights = [np.array([[1.0, 2.5], [3, 4]]), np.array([0.25, -1.75])]
    assert summary_lib.distance_to_teacher(weights, _dataset(truth=truth)) == 0.75
    exact = [truth["kernel"], truth["bias"]]
    assert summary_lib.distance_to_teacher(exact, _dataset(truth=truth)) == 0.0


def test_a_model_of_another_shape_has_no_distance_to_the_teacher():
    truth = {"kernel": np.zeros((2, 2)), "bias": np.zeros(2)}
    weights = [np.zeros((2, 8)), np.zeros(8), np.zeros((8, 2)), np.zeros(2)]
    assert summary_lib.distance_to_teacher(weights, _dataset(truth=truth)) is None


def test_the_summary_has_what_other_programs_read(tmp_path):
    weights = [np.ones((2, 2), np.float32), np.ones(2, np.float32)]
    summary = _write(tmp_path, _dataset(num_classes=2), weights)
    assert summary == {
        "config": "x",
        "strategy": "mirrored",
        "reason": "why",
        "sync_mode": "gradients",
        "agreements": 8,
        "num_replicas": 2,
        "threads": threads.num_threads(),
        "global_batch_size": 64,
        "steps": 8,
        "epochs": 2.0,
        "ended_by": {},
        "dataset": "made_up",
        "dataset_description": "made up.",
        "final_loss": 0.5,
        "test_loss": 0.25,
        "test_accuracy": 0.75,
        "examples_per_s": 100.0,
        "seconds": 3.0,
        "weights_sha256": "5" * 64,
    }


def test_the_summary_of_a_regression_with_a_teacher_has_the_distance_to_it(tmp_path):
    truth = {"kernel": np.zeros((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
    weights = [np.full((2, 2), 0.5, np.float32), np.zeros(2, np.float32)]
    assert _write(tmp_path, _dataset(truth=truth), weights)["distance_to_teacher"] == 0.5
    assert "distance_to_teacher" not in _write(tmp_path, _dataset(2, truth), weights)
