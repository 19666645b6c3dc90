"""Do weights of classes and examples become the right factors, and are wrong ones refused in one line?"""

import dataclasses

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from trainer.config.fields import ConfigError
from trainer.config.load import override, resolve
from trainer.config.schema import DataConfig, ExperimentConfig
from trainer.data import address as address_lib
from trainer.data import class_balance, recipe_data, source_data
from trainer.data.dataset import DataError, Dataset, Split
from trainer.data.prepared import folder, prepare

LABELS = np.array([0, 0, 0, 1, 2, 2])


def _dataset(targets=LABELS, weights=None, num_classes=0, class_names=()):
    split = Split(np.zeros((len(targets), 2)), targets, weights)
    return Dataset("made_up", split, split, num_classes, 0, "made up", class_names=class_names)


def test_balanced_weights_are_scikit_learns():
    found = class_balance.weighted(_dataset(), "balanced").train.weights
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert found.dtype == np.float32
    assert np.allclose(found, expected[LABELS], rtol=1e-6)


def test_weights_by_class_leave_the_others_and_multiply_those_of_examples():
    for text in ("1:10,2:0.5", "{1: 10, 2: 0.5}", "{'1': 10, \"2\": 0.5,}"):
        found = class_balance.weighted(_dataset(), text).train.weights
        assert found.tolist() == [1, 1, 1, 10, 0.5, 0.5]
    own = np.array([1, 2, 3, 4, 5, 0])
    found = class_balance.weighted(_dataset(weights=own), "1:10").train.weights
    # A weight of 0 would be that of padding, which is no example.
    assert found.tolist() == [1, 2, 3, 40, 5, 2.0**-126]


def test_classes_may_be_named_and_be_one_hot_or_in_a_column():
    names = ("cat", "dog", "emu")
    found = class_balance.weighted(_dataset(class_names=names, num_classes=3), "dog:4")
    assert found.train.weights.tolist() == [1, 1, 1, 4, 1, 1]
    for targets in (np.eye(3, dtype=np.float32)[LABELS], LABELS[:, np.newaxis].astype(np.uint8)):
        assert np.array_equal(class_balance.class_labels(_dataset(targets), "x"), LABELS)


def test_evaluations_have_no_weights():
    weights = np.ones(6)
    dataset = _dataset(weights=weights)
    dataset = dataclasses.replace(dataset, validation=dataset.train)
    found = class_balance.weighted(dataset, "")
    assert found.train.weights is not None
    assert found.test.weights is None and found.validation.weights is None


@pytest.mark.parametrize(
    "dataset, weights, message",
    [
        (_dataset(num_classes=4), "balanced", "none of class 3 in made_up; add some, or leave it out"),
        (_dataset(), "7:2", 'which are 0, 1, 2. Received: "7"; correct it'),
        (_dataset(np.array([0.5, 1.5])), "0:2", "no single class each. Received: float64 \\[\\] each"),
        (_dataset(np.zeros((3, 4))), "0:2", "Received: float64 \\[4\\] each"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_the_data_are_refused(dataset, weights, message):
    with pytest.raises(DataError, match=message):
        class_balance.weighted(dataset, weights)


@pytest.mark.parametrize(
    "field, text, message",
    [
        ("data.class_weights", "3", "`data.class_weights` must give each class a number from 0 on. "
         'Received: "3", without one for 3; write e.g. 3:2, or balanced alone.'),
        ("data.class_weights", "3:-1", 'Received: "3:-1", without one for 3'),
        ("data.class_weights", "3:a", "`data.class_weights` must be names with numbers, as in "
         '3:10,5:2.5, or balanced. Received: "3:a" in "3:a"; correct it.'),
        ("data.class_weights", "3:1,3:2", 'Received: 3 twice in "3:1,3:2"'),
        ("data.class_weights", "3:nan", 'Received: "3:nan"'),
        ("data.example_weights", "w", "must be empty without `data.source`, whose column it names"),
        ("data.folds", "1", "`data.folds` must be at least 2, as a run trains on all folds but one. "
         "Received: 1; try 5."),
        ("data.fold", "2", "`data.folds` must be at least 2 with `data.fold`=2. Received: 0; try 5."),
        ("data.stratified", "true", "must be at least 2 with `data.stratified`=true. Received: 0"),
        ("data.augment", "blur", '`data.augment` must name some of shift, rotate, flip, crop, cutout, '
         'mixup. Received: "blur"; correct it.'),
        ("data.augment", "cutouts:3", "did you mean cutout?"),
        ("data.augment", "shift:1.5", "must have a whole number from 1 to 1024 for shift. Received: 1.5; "
         "try shift:2."),
        ("data.augment", "crop:2", "must have from 0.01 to 1 for crop. Received: 2; try crop:0.8."),
    ],
)  # fmt: skip
def test_fields_that_cannot_be_read_are_refused(field, text, message):
    with pytest.raises(ConfigError) as caught:
        override(ExperimentConfig(), {field: text})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_fold_must_be_below_their_number():
    with pytest.raises(
        ConfigError, match="must be below `data.folds`, which is 3. Received: 3; try 2"
    ):
        override(ExperimentConfig(), {"data.folds": "3", "data.fold": "3"})


@pytest.mark.parametrize(
    "field, text",
    [
        ("data.class_weights", "balanced"),
        ("data.resample", "balanced"),
        ("train.focal_gamma", "2"),
    ],
)
def test_a_regression_has_no_classes(field, text):
    with pytest.raises(ConfigError, match=f"`{field}` must be left out for a regression"):
        resolve("linear_100", {field: text})


CSV = "a,b,w,label\n" + "".join(f"{i},{i * 2},{i % 3},{'xyz'[i % 3]}\n" for i in range(60))


def _of_csv(tmp_path, text=CSV, **fields):
    path = tmp_path / "a.csv"
    path.write_text(text)
    return ExperimentConfig(data=DataConfig(source=f"csv:{path}", **fields))


def test_a_column_of_a_source_weighs_the_examples(tmp_path):
    found = recipe_data.load(_of_csv(tmp_path, example_weights="w", class_weights="y:10"))
    assert found.train.features.shape == (48, 2)  # Without the weights.
    expected = np.array([2.0**-126, 10, 2], np.float32)[found.train.targets]
    assert np.array_equal(found.train.weights, expected)
    other = recipe_data.load(
        _of_csv(tmp_path, CSV.replace("0,0,0,x", "0,0,5,x"), example_weights="w")
    )
    assert other.fingerprint != found.fingerprint


def test_a_column_of_a_prepared_source_weighs_them_too(tmp_path):
    config = _of_csv(tmp_path, example_weights="w", dir=str(tmp_path))
    read = recipe_data.load(config)
    address = address_lib.parse(config.data)
    opened = address.open()
    prepare.prepare(address, opened, source_data.select(address, opened))
    found = recipe_data.load(config)
    assert "prepared in" in found.description and found.fingerprint == read.fingerprint
    assert np.array_equal(found.train.weights, read.train.weights)
    other = folder.place(_of_csv(tmp_path, dir=str(tmp_path)).data)
    assert folder.place(config.data) != other  # Whose columns are others.


@pytest.mark.parametrize(
    "text, column, message",
    [
        (CSV, "v", "`data.example_weights` must name columns of csv:"),
        (
            CSV.replace("3,6,0,x", "3,6,-1,x"),
            "w",
            "from 0 on, not all of them 0. Received: -1 to 2",
        ),
        (CSV, "label", "`data.target` must name the column"),
    ],
)
def test_a_column_that_holds_no_weights_is_refused(tmp_path, text, column, message):
    if column == "label":
        config = _of_csv(tmp_path, text, example_weights="label", target="w")
        message = "Received: text; correct the column"
    else:
        config = _of_csv(tmp_path, text, example_weights=column)
    with pytest.raises(DataError, match=message):
        recipe_data.load(config)


def test_resampling_needs_each_class(tmp_path):
    config = _of_csv(tmp_path, resample="balanced", train_examples=2)
    with pytest.raises(
        DataError, match="`data.resample` must not be balanced unless each class has"
    ):
        recipe_data.load(config)
