"""Is an example changed by its seed, epoch and index alone, and is what is no example refused?"""

import numpy as np
import pytest

from strategies.collectives.leaf_runs import LeafRuns
from trainer.config import load as config_load
from trainer.config import recipes
from trainer.config.fields import ConfigError
from trainer.config.user_code import RecipeError
from trainer.data import augment, recipe_data
from trainer.data.dataset import DataError, Split
from trainer.data.input_pipeline import InputPipeline
from trainer.order.sample_order import PADDING, SampleOrder
from trainer.order.schedule import Loop, Schedule

_HEAD = """
import numpy as np
from trainer.recipe import ExperimentConfig

def get_config(): return ExperimentConfig()
def get_model(config, data): raise AssertionError("not needed for the data")
def get_data(config):
    x, y = np.arange(202.0, dtype="float32").reshape(101, 2), np.arange(101)
    return {"train": (x, y), "test": (x, y)}

"""
_NOISE = """
def augment(example, rng):
    features, target = example
    return features + rng.normal(size=2).astype("float32"), target + 0
"""
BATCH = 12


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe with this code."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")

    def loaded(code):
        path = tmp_path / "own.py"
        path.write_text(_HEAD + code)
        return recipes.load(path)

    return loaded


def _split(count=101):
    return Split(np.zeros((count, 2), np.float32), np.arange(count))


def _read(pipeline, loops):
    """Per loop and replica: (indices, features, targets), of the loop's own steps."""
    return [
        [tuple(part.numpy()[: loop.num_steps] for part in one) for one in each]
        for loop, each in zip(loops, pipeline.loop_inputs(loops), strict=True)
    ]


def _pipeline(recipe, placement="resident", num_replicas=1, replicas=None, steps_per_loop=4):
    order = SampleOrder(101, BATCH, seed=0)
    split = _split()
    replicas = range(num_replicas) if replicas is None else replicas
    one = augment.of(recipe, split, seed=3)
    runs = LeafRuns((1,) * num_replicas)
    return InputPipeline(split, order, runs, replicas, steps_per_loop, placement, one)


def _by_example(pipeline, loops, per_epoch=9):
    """{(epoch, index): features}, from all replicas of a pipeline."""
    found = {}
    for loop, each in zip(loops, _read(pipeline, loops), strict=True):
        for indices, features, targets in each:
            for step, column in np.argwhere(indices != PADDING):
                index = int(indices[step, column])
                assert targets[step, column] == index
                epoch = (loop.first_step + step) // per_epoch
                found[int(epoch), index] = features[step, column].tobytes()
    return found


def _loops(start=0, steps_per_loop=4):
    return list(Schedule(18, 9, steps_per_loop, 0, 0).loops(start))


def test_an_examples_random_numbers_follow_from_seed_epoch_and_index(recipe):
    found = _by_example(_pipeline(recipe(_NOISE)), _loops())
    assert len(found) == 2 * 101 == len({*found.values()})
    for (epoch, index), features in found.items():
        rng = np.random.Generator(np.random.Philox(key=(3, epoch), counter=(0, 0, 0, index)))
        assert features == rng.normal(size=2).astype(np.float32).tobytes()


def test_neighbouring_examples_share_no_random_numbers(recipe):
    code = "def augment(example, rng): return rng.random(2, 'float32'), example[1]"
    examples = [np.frombuffer(one, np.float32) for one in _by_example(
        _pipeline(recipe(code)), _loops()).values()]  # fmt: skip
    assert len(np.unique(examples)) > 2 * 2 * 101 - 3  # Of 2**24 values, two may meet by chance.


@pytest.mark.parametrize("num_replicas", [2, 3, 4])
@pytest.mark.parametrize("placement", ["resident", "stream"])
def test_replicas_processes_loops_and_resuming_change_nothing(recipe, num_replicas, placement):
    noise = recipe(_NOISE)
    whole = _by_example(_pipeline(noise), _loops())
    parts = {}
    for one in range(num_replicas):
        pipeline = _pipeline(noise, placement, num_replicas, range(one, one + 1), steps_per_loop=5)
        parts |= _by_example(pipeline, _loops(steps_per_loop=5))
    assert parts == whole
    resumed = _by_example(_pipeline(noise, placement, num_replicas), _loops(start=7))
    assert resumed and resumed.items() <= whole.items()
    assert pipeline.resident == ()


def test_padding_is_left_as_it_is(recipe):
    loop = Loop(8, 1)  # 101 examples: 5 in the last batch of 12.
    ((_, features, _),) = _read(_pipeline(recipe(_NOISE)), [loop])[0]
    assert features[0, :5].all() and not features[0, 5:].any()


def test_arrays_by_name_are_given_and_taken_by_name(recipe):
    code = """
def augment(example, rng):
    features, target = example
    assert {*features} == {"a", "b"} and features["a"].shape == (2,) and features["b"] == target
    return {"b": features["b"], "a": features["a"] + 1}, target
"""
    split = Split({"a": np.zeros((5, 2)), "b": np.arange(5)}, np.arange(5))
    arrays = tuple(array.copy() for array in split.arrays)
    augment.of(recipe(code), split, 0)(arrays, np.arange(5), np.zeros(5, int))
    assert [array.tolist() for array in arrays] == [[[1, 1]] * 5, [*range(5)], [*range(5)]]


def test_a_change_in_place_leaves_the_data_alone(recipe):
    code = "def augment(example, rng):\n    example[0][:] += 1\n    return example"
    one = augment.of(recipe(code), split := _split(), 0)
    one.check()
    assert not split.features.any()


def test_a_recipe_without_it_changes_nothing(recipe):
    assert augment.of(recipe(""), _split(), 0) is None and augment.of(None, _split(), 0) is None


@pytest.mark.parametrize(
    "returned, message",
    [
        ("x", "must return (features, targets). Received: a ndarray; "),
        ("(x, y, y)", "must return (features, targets). Received: a tuple of 3; "),
        ("(x.astype(float), y)", "that it got, float32 [2]. Received: float64 [2]; "),
        ("(x[:1], y)", "that it got, float32 [2]. Received: float32 [1]; "),
        ("(x, float(y))", "that it got, int64 []. Received: float64 []; "),
        ("({'a': x}, y)", "that it got, float32 [2]. Received: object []; "),
        ("(x + np.random.rand(2).astype('float32'), y)", "Received: two results for one example; "),
    ],
)
def test_what_is_no_example_is_refused_before_the_first_step(recipe, returned, message):
    path = recipe(f"def augment(example, rng):\n    x, y = example\n    return {returned}\n").path
    with pytest.raises(DataError) as caught:
        recipe_data.load(config_load.resolve(str(path)))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"`augment` of {path} must ")


def test_missing_names_are_refused(recipe):
    split = Split({"a": np.zeros((5, 2)), "b": np.arange(5)}, np.arange(5))
    one = augment.of(recipe("def augment(example, rng): return {'a': 1}, 2"), split, 0)
    with pytest.raises(DataError, match=r"must return a, b by name\. Received: a dict with 'a'; "):
        one.check()


def test_an_error_of_its_code_shows_its_own_lines_also_in_the_midst_of_a_run(recipe):
    code = """
def augment(example, rng):
    return below(*example)

def below(x, y):
    return (x, y) if y != 60 else (x / [], y)
"""
    found = recipe(code)
    with pytest.raises(RecipeError) as caught:
        _read(_pipeline(found), _loops())
    assert str(caught.value).startswith(f"recipe {found.path}, line 16: ValueError: operands could")
    assert [note.split(": ")[-1] for note in caught.value.__notes__] == [
        "return below(*example)",
        "return (x, y) if y != 60 else (x / [], y)",
        "  given training example 60, in epoch 0",
    ]


def test_without_a_model_of_the_recipes_own_it_is_refused(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "from trainer.recipe import *\ndef get_config(): return ExperimentConfig()\n" + _NOISE
    )
    with pytest.raises(
        ConfigError, match=r"must define `get_model\(config, data\)` beside `augment`"
    ):
        config_load.resolve(str(path))
