"""Are the values in the summary correct?"""

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import numpy as np

from strategies.devices import threads
from strategies.runtime import State
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset, Split
from trainer.reporting import summary as summary_lib
from trainer.storage.workdir import Workdir
from trainer.training.loop import Result


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
    )


def _write(tmp_path, dataset, weights):
    runtime = SimpleNamespace(name="mirrored", reason="why", sync_mode="gradients", num_replicas=2)
    workdir = Workdir(tmp_path)
    given = summary_lib.write(
        workdir, ExperimentConfig("x"), dataset, runtime, _result(weights), 3.0
    )
    assert json.loads(workdir.summary.read_text()) == given
    return given


def test_the_hash_of_three_numbers_is_that_of_their_twelve_bytes():
    # printf '\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x00\x00\x3f' | sha256sum
    known = "2ce4bdb6b34a50ac7092eb9fee94337a27498e9eb9bae44192f15b88831b2422"
    assert summary_lib.weights_sha256([np.array([1, -2, 0.5], np.float32)]) == known
    parts = [np.array([[1], [-2]], np.float32), np.array([0.5], np.float32)]
    assert summary_lib.weights_sha256(parts) == known
    assert summary_lib.weights_sha256([np.array([1, -2, 0.5], ">f4")]) == known


def test_the_hash_follows_the_order_of_rows_and_of_weights():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    flat = hashlib.sha256(np.arange(6, dtype="<f4").tobytes()).hexdigest()
    assert summary_lib.weights_sha256([matrix]) == flat
    assert summary_lib.weights_sha256([np.asfortranarray(matrix)]) == flat
    assert summary_lib.weights_sha256([matrix.T]) != flat
    one, two = matrix[:1], matrix[1:]
    assert summary_lib.weights_sha256([one, two]) != summary_lib.weights_sha256([two, one])


def test_layer_state_is_hashed_behind_the_weights_integers_as_integers(tmp_path):
    weights = [np.ones(2, np.float32)]
    state = [np.array([0.5], np.float16), np.array([7, 2**40 + 1], np.int64)]
    runtime = SimpleNamespace(name="mirrored", reason="why", sync_mode="gradients", num_replicas=2)
    result = dataclasses.replace(_result(weights), state=State(weights, [], state))
    config = ExperimentConfig(name="x")
    summary = summary_lib.write(
        Workdir(tmp_path), config, _dataset(2), runtime, result, seconds=3.0
    )
    plain = np.ones(2, "<f4").tobytes() + np.array([0.5], "<f4").tobytes()
    plain += np.array([7, 2**40 + 1], "<i8").tobytes()
    assert summary["weights_sha256"] == hashlib.sha256(plain).hexdigest()


def test_one_bit_changes_the_hash():
    weight = np.ones(1000, np.float32)
    other = weight.copy()
    other[500] = np.nextafter(np.float32(1), np.float32(2))
    assert summary_lib.weights_sha256([weight]) != summary_lib.weights_sha256([other])


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
        "weights_sha256": summary_lib.weights_sha256(weights),
    }


def test_the_summary_of_a_regression_with_a_teacher_has_the_distance_to_it(tmp_path):
    truth = {"kernel": np.zeros((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
    weights = [np.full((2, 2), 0.5, np.float32), np.zeros(2, np.float32)]
    assert _write(tmp_path, _dataset(truth=truth), weights)["distance_to_teacher"] == 0.5
    assert "distance_to_teacher" not in _write(tmp_path, _dataset(2, truth), weights)
