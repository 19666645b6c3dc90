"""Are the answers in a report those that the evaluation counts, and its worst mistakes the worst?"""

import numpy as np
import pytest

from trainer.config.schema import DataConfig, ExperimentConfig
from trainer.data import registry
from trainer.data.dataset import Dataset, Split
from trainer.export import sample
from trainer.model import losses
from trainer.training import programs


def dataset_and_program(name):
    config = ExperimentConfig(name="x", data=DataConfig(name=name))
    dataset = registry.load(config.data)
    return dataset, programs.training_program(config, dataset)


def test_the_counts_of_a_classification_are_those_of_its_accuracy():
    dataset, program = dataset_and_program("digits")
    state = program.initial_state()
    found = sample.answers(program, dataset, state)
    (one,) = found["outputs"]
    test = dataset.test
    sums = program.sums(
        state.weights, (test.features, test.targets, np.ones(len(test), np.float32))
    )
    accuracy = program.means(np.asarray(sums, np.float64))["accuracy"]
    assert (found["examples"], found["of"]) == (300, 300)
    assert one["right"] == round(accuracy * 300)
    table = np.array(one["confusion"])
    assert table.sum() == 300 and np.trace(table) == one["right"]
    assert table.sum(1).tolist() == np.bincount(test.targets, minlength=10).tolist()
    worst = one["worst"]
    assert len(worst) == 12
    assert all(mistake["truth"] == test.targets[mistake["index"]] for mistake in worst)
    assert all(mistake["truth"] != mistake["answer"] for mistake in worst)
    certain = [mistake["probability"] for mistake in worst]
    assert certain == sorted(certain, reverse=True)
    assert worst[0]["picture"].startswith("data:image/png;base64,")


def test_a_regression_has_pairs_and_its_largest_errors():
    dataset, program = dataset_and_program("linear_100")
    (one,) = sample.answers(program, dataset, program.initial_state())["outputs"]
    assert one["kind"] == "values" and 0 < len(one["pairs"]) <= 500
    errors = [
        max(abs(a - b) for a, b in zip(mistake["truth"], mistake["answer"], strict=True))
        for mistake in one["worst"]
    ]
    assert len(errors) == 12 and max(errors) > 0
    assert "…" in one["worst"][0]["text"]


@pytest.mark.parametrize(
    "truth, values",
    [(np.zeros((4, 3)), np.zeros((4, 3, 5))), (np.zeros(4), np.zeros((4, 3, 5)))],
)
def test_answers_for_each_place_of_a_sequence_are_left_out(truth, values):
    split = Split(np.zeros((4, 2), np.float32), truth)
    assert sample._of_output(losses.LOGITS, truth, values, split) is None


def test_a_truth_value_is_answered_by_one_number():
    truth = np.array([[0], [1], [1]])
    split = Split(np.array(["a", "b", "c" * 400]), truth)
    one = sample._of_output(losses.BINARY_LOGITS, truth, np.array([[0.2], [0.9], [0.4]]), split)
    assert one["confusion"] == [[1, 0], [1, 1]]
    assert one["worst"] == [
        {"index": 2, "text": "c" * 60, "truth": 1, "answer": 0, "probability": 0.6}
    ]


@pytest.mark.parametrize(
    "example, is_picture",
    [(np.zeros((28, 28), np.uint8), True), (np.zeros((8, 8, 3), np.float32), True),
     (np.full((8, 8, 1), 7, np.int32), True), (np.zeros(100, np.float32), False),
     (np.zeros((2000, 8)), False), (np.full((8, 8), np.nan), False), (np.zeros((8, 8, 5)), False)],
)  # fmt: skip
def test_what_has_the_shape_of_a_picture_is_shown_as_one(example, is_picture):
    assert bool(sample._picture(example)) == is_picture


def test_a_model_too_large_to_copy_is_not_asked(monkeypatch):
    monkeypatch.setattr(sample, "_MAX_STATE_BYTES", 10)
    dataset, program = dataset_and_program("digits")
    assert sample.answers(program, dataset, program.initial_state()) == {}


def test_no_batch_begins_after_the_time_is_over(monkeypatch):
    monkeypatch.setattr(sample, "_MAX_S", 0.0)
    dataset, program = dataset_and_program("digits")
    assert isinstance(dataset, Dataset)
    found = sample.answers(program, dataset, program.initial_state())
    assert (found["examples"], found["of"]) == (16, 300)
