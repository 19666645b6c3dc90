"""Does a recipe's own data become a data set, or one line that says what is wrong with it?"""

import builtins
import textwrap

import numpy as np
import pytest

from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.config.user_code import RecipeError
from trainer.data import recipe_data
from trainer.data.dataset import DataError
from trainer.data.prepared import spool
from trainer.data.rows import is_mapped

_HEAD = """
import numpy as np
from trainer.recipe import ExperimentConfig

def get_config(): return ExperimentConfig()
def get_model(config, data): raise AssertionError("not needed for the data")

x, y = np.arange(12.0).reshape(6, 2), np.arange(6)

class Examples:
    def __len__(self): return len(x)
    def __getitem__(self, index): return {"a": x[index], "b": index}, y[index]
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """The data of a recipe whose `get_data` returns this expression."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")

    def loaded(returned, **overrides):
        path = tmp_path / "own.py"
        path.write_text(textwrap.dedent(_HEAD) + f"def get_data(config): return {returned}\n")
        return recipe_data.load(config_load.resolve(str(path), overrides))

    return loaded


def test_arrays_are_taken_as_they_are_floats_as_float32(load):
    dataset = load("{'train': (x, y), 'test': (x[:2], y[:2])}")
    assert dataset.train.features.dtype == np.float32 and dataset.train.targets.dtype == np.int64
    assert dataset.train.features.tolist() == np.arange(12.0).reshape(6, 2).tolist()
    assert (len(dataset.train), len(dataset.test), dataset.feature_scale) == (6, 2, None)
    assert (
        dataset.name == "own" and "6 examples to train on and 2 to test on" in dataset.description
    )


def test_examples_by_index_become_the_same_arrays(load):
    dataset = load("{'train': Examples(), 'test': ({'a': x, 'b': y}, y)}")
    assert {*dataset.train.features} == {"a", "b"}
    for mine, theirs in zip(dataset.train.arrays, dataset.test.arrays, strict=True):
        assert np.array_equal(mine, theirs) and mine.dtype == theirs.dtype


def test_the_first_training_examples_are_taken_of_every_array(load):
    dataset = load(
        "{'train': ({'a': x, 'b': y}, y), 'test': ({'a': x, 'b': y}, y)}",
        **{"data.train_examples": "4"},
    )
    assert [len(array) for array in dataset.train.arrays] == [4, 4, 4] and len(dataset.test) == 6
    features, targets = dataset.train.unpack(("one", "two", "three"))
    assert features == {"a": "one", "b": "two"} and targets == "three"


def test_the_fingerprint_follows_names_types_and_values(load):
    plain = "{'train': ({'a': x}, y), 'test': ({'a': x}, y)}"
    found = {
        load(text).fingerprint
        for text in (
            plain,
            plain.replace("'a'", "'b'"),
            plain.replace("x}", "x + 1}"),
            plain.replace("x}", "x.astype(int)}"),
        )
    }
    assert len(found) == 4 and load(plain).fingerprint in found


@pytest.mark.parametrize(
    "returned, message",
    [
        ("3", "must return {'train': source, 'test': source}. Received: a int; "),
        ("{'train': (x, y)}", "Received: a dict with 'train'; "),
        (
            "{'train': (x, y), 'test': x}",
            "a source for 'test' that is a pair (features, targets), ",
        ),
        ("{'train': (x, y), 'test': (x, y, y, y)}", "Received: a tuple of 4; "),
        ("{'train': (x, y, -y), 'test': (x, y)}", "a number from 0 on for each example, "),
        ("{'train': (x, y, y[1:]), 'test': (x, y)}", "Received: lengths 6, 6, 5; "),
        ("{'train': (x, y[:3]), 'test': (x, y)}", "arrays of one length. Received: lengths 6, 3; "),
        ("{'train': (x[:0], y[:0]), 'test': (x, y)}", "at least one example for 'train', "),
        ("{'train': ([None] * 6, y), 'test': (x, y)}", "as train features. Received: object [6]; "),
        ("{'train': (x, y), 'test': (x[:, :1], y)}", "Received: f[2] and f[1]; "),
        ("{'train': ({'a': x}, y), 'test': (x, y)}", "features of one kind for train and test. "),
        (
            "{'train': [(x[0], 1), (x[0, :1], 2)], 'test': (x, y)}",
            "by [i] of one shape. Received: ",
        ),
        ("{'train': [1, 2], 'test': (x, y)}", "Received: a int; "),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(load, returned, message):
    with pytest.raises(DataError) as caught:
        load(returned)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("`get_data` of ")


def test_more_examples_than_there_are_are_refused(load):
    with pytest.raises(DataError, match=r"must be 0 \(all\) to 6 for .* Received: 7\."):
        load("{'train': (x, y), 'test': (x, y)}", **{"data.train_examples": "7"})


def test_an_error_of_the_recipes_code_is_its_own(load):
    with pytest.raises(RecipeError, match=r"own\.py, line \d+: ZeroDivisionError: "):
        load("1 / 0")
    with pytest.raises(RecipeError, match=r"own\.py, line \d+: IndexError: "):
        load("{'train': type('E', (Examples,), {'__len__': lambda self: 9})(), 'test': (x, y)}")


def test_functions_that_would_be_ignored_are_refused(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("from trainer.recipe import *\ndef get_config(): return ExperimentConfig()\n")
    config_load.resolve(str(path), {})
    path.write_text(path.read_text() + "def get_loss(config): return 'mse'\n")
    with pytest.raises(
        ConfigError, match=r"must define `get_model\(config, data\)` beside `get_loss`"
    ):
        config_load.resolve(str(path), {})


def test_a_file_without_a_model_is_refused(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("from trainer.recipe import *\ndef get_config(): return ExperimentConfig()\n")
    config = config_load.resolve(str(path), {"recipe": str(path)})
    with pytest.raises(DataError, match="`recipe` must be a file that defines `get_model"):
        recipe_data.load(config)


def test_numbers_beyond_float32_are_refused(load):
    with pytest.raises(
        DataError, match=r"numbers below 3.4e38 as train features. Received: up to 1e\+300"
    ):
        load("{'train': (x + 1e300, y), 'test': (x, y)}")


def test_a_masked_array_is_refused(load):
    with pytest.raises(DataError, match="an array without a mask as train features"):
        load("{'train': (np.ma.masked_array(x, x > 3), y), 'test': (x, y)}")


def test_examples_with_other_names_than_the_first_are_refused(load):
    more = "[({'a': x[0]}, 1), ({'a': x[1], 'b': x[1]}, 1)]"
    with pytest.raises(DataError, match="Received: KeyError: 'a and a, b'"):
        load(f"{{'train': {more}, 'test': (x, y)}}")


def test_data_from_the_global_generators_is_the_same_again(load):
    made = "{'train': (np.random.normal(size=(6, 2)), y), 'test': (x, y)}"
    assert load(made).fingerprint == load(made).fingerprint
    assert load(made).fingerprint != load(made, **{"train.seed": "1"}).fingerprint


def test_examples_without_a_number_are_refused(load):
    with pytest.raises(DataError, match=r"as train targets. Received: float64 \[6, 0\]"):
        load("{'train': (x, np.zeros((6, 0))), 'test': (x, y)}")


# Each has the same six examples, as dictionaries or as pairs.
LIBRARIES = {
    "datasets": "__import__('datasets').Dataset.from_dict({'x': x.tolist(), 'label': y.tolist()})",
    "tf.data, dictionaries": "__import__('tensorflow').data.Dataset.from_tensor_slices("
    "{'x': x, 'label': y})",
    "tf.data, pairs from a generator": "__import__('tensorflow').data.Dataset.from_generator("
    "lambda: zip(x, y), output_types=('float32', 'int64')).map(lambda a, b: (a, b))",
    "as torch's and TFDS's": "type('Source', (), {'__len__': lambda self: 6, '__getitem__': None, "
    "'__getitems__': lambda self, at: [(x[i], y[i]) for i in at]})()",
    "as Grain's": "type('Source', (), {'__len__': lambda self: 6, "
    "'__getitem__': lambda self, i: {'label': y[i], 'x': x[i]}})()",
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_data_set_of_another_library_becomes_the_same_arrays(library, load):
    source = LIBRARIES[library]
    dataset = load(f"{{'train': {source}, 'test': {source}}}")
    assert dataset.train.features.tolist() == np.arange(12.0).reshape(6, 2).tolist()
    assert dataset.train.features.dtype == np.float32
    assert dataset.test.targets.tolist() == [0, 1, 2, 3, 4, 5]


def test_dictionaries_without_a_target_and_data_without_end_are_one_line(load):
    with pytest.raises(
        DataError, match="`data.target` must name the column of `get_data` of .* a, b"
    ):
        load("{'train': [{'a': 1, 'b': 2}], 'test': [{'a': 1, 'b': 2}]}")
    chosen = load(
        "{'train': [{'a': 1, 'b': [2]}], 'test': [{'a': 1, 'b': [2, 3]}]}",
        **{"data.target": "a", "data.pad_to": "3"},
    )
    assert chosen.test.features.tolist() == [[2, 3, 0]]
    with pytest.raises(RecipeError, match="never ends; leave out repeat"):
        load("{'train': __import__('tensorflow').data.Dataset.range(3).repeat(), 'test': 0}")


LARGE = {
    "by [i]": "type('S', (), {'__len__': lambda self: 2500, '__getitem__': lambda self, i: "
    "({'a': np.full(3, i), 'b': 'text'}, i % 3) if reads.append(i) is None else 0})()",
    "tf.data with random access": "tf.data.Dataset.range(2500).map(lambda i: {'y': i % 3, 'x': i * 2})",
    "tf.data without": "tf.data.Dataset.range(5000).filter(lambda i: i % 2 == 0).map("
    "lambda i: {'y': i % 3, 'x': tf.cast(i, tf.float64)})",
}


@pytest.mark.parametrize("kind", LARGE)
def test_examples_that_do_not_fit_in_memory_are_stored_once_and_mapped(
    kind, load, tmp_path, monkeypatch
):
    folder = {"data.dir": str(tmp_path / "stored")}
    reads: list[int] = []
    for name, value in (("reads", reads), ("tf", __import__("tensorflow"))):
        monkeypatch.setattr(builtins, name, value, raising=False)
    source = f"{{'train': {LARGE[kind]}, 'test': {LARGE[kind]}}}"
    whole = load(source, **{"data.dir": "gs://bucket"})  # Not needed, as it fits.
    monkeypatch.setattr(spool, "MAX_MEMORY_BYTES", 10_000)
    mapped = load(source, **folder)
    for one, other in zip(whole.train.arrays, mapped.train.arrays, strict=True):
        assert is_mapped(other) and not is_mapped(one)
        assert one.dtype == other.dtype and np.array_equal(one, other)
    del reads[:]
    again = load(source, **folder)
    assert len(reads) <= 2 * 64 and again.fingerprint == mapped.fingerprint
    changed = load(source.replace("% 3", "% 4"), **folder)
    assert changed.fingerprint != mapped.fingerprint
    assert not np.array_equal(changed.train.targets, mapped.train.targets)


@pytest.mark.parametrize(
    "second, message",
    [
        ("np.zeros(3)", "must have one shape. Received: {'features': [2], 'target': []} and"),
        ("np.zeros(2, complex)", "as features. Received: complex128 [500, 2]"),
        ("np.zeros(2, np.float32)", "must have one type of features. Received: int64 and float32"),
    ],
)
def test_large_examples_that_differ_are_one_line(second, message, load, tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "MAX_MEMORY_BYTES", 10_000)
    source = (
        "type('S', (), {'__len__': lambda self: 1500, '__getitem__': lambda self, i: "
        f"(np.zeros(2, int) if i < 1000 else {second}, 0)}})()"
    )
    with pytest.raises(DataError) as caught:
        load(f"{{'train': {source}, 'test': (x, y)}}", **{"data.dir": str(tmp_path / "s")})
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "s").glob("*") if path.suffix != ".lock"]
