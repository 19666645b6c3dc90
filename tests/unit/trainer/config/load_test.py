"""Does each config give the right values, or the exact message?"""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import load as config_load
from trainer.config import model_schema, recipes, rules
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, build
from trainer.config.json_format import UNCHANGED
from trainer.config.schema import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from trainer.data import registry

FIELDS = {field.name: field for field in config_lib.fields()}


def override(name, text):
    return config_load.resolve("digits_dense", {name: text})


def message(call, *args):
    with pytest.raises(ConfigError) as caught:
        call(*args)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(name, value):
    """The config.json of the defaults with one field changed."""
    tree = json.loads(config_lib.to_json(ExperimentConfig()))
    section, _, leaf = name.rpartition(".")
    (tree[section] if section else tree)[leaf] = value
    return json.dumps(tree)


def test_the_defaults_are_valid():
    rules.validate(ExperimentConfig())


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("data.global_batch_size", "128", 128),
        ("data.global_batch_size", "1_000", 1000),
        ("data.global_batch_size", "64.0", 64),
        ("model.hidden_units", "128.0,64", (128, 64)),
        ("optimizer.learning_rate", "1", 1.0),
        ("optimizer.learning_rate", "1e-3", 0.001),
        ("data.shuffle", "False", False),
        ("data.shuffle", "true", True),
        ("data.dir", "", ""),
        ("data.dir", "/data/a b=c", "/data/a b=c"),
        ("model.hidden_units", "128,64", (128, 64)),
        ("model.hidden_units", "(128, 64)", (128, 64)),
        ("model.hidden_units", "[128,]", (128,)),
        ("model.hidden_units", "32", (32,)),
        ("model.hidden_units", "()", ()),
    ],
)
def test_an_override_has_its_fields_type(name, text, value):
    section, leaf = name.split(".")
    found = getattr(getattr(override(name, text), section), leaf)
    assert found == value
    assert type(found) is type(value)


def test_an_override_changes_nothing_else():
    plain, other = config_load.resolve("digits_dense"), override("train.seed", "7")
    assert config_lib.differences(plain, other) == ["train.seed"]


MISTAKES = [
    ("data.global_batch_sise", "1", "`data.global_batch_sise` is not a config field. Received: "
     '"1"; did you mean `data.global_batch_size`?'),
    ("global_batch_size", "1", "`global_batch_size` is not a config field. Received: "
     '"1"; did you mean `data.global_batch_size`?'),
    ("data.seed", "1", '`data.seed` is not a config field. Received: "1"; did you mean '
     "`train.seed`?"),
    ("data.nmae", "mnist", '`data.nmae` is not a config field. Received: "mnist"; did you mean '
     "`data.name`?"),
    ("zzz", "1", '`zzz` is not a config field. Received: "1"; `--help=config` lists all '
     "fields."),
    ("early_stopping", "3", '`early_stopping` is a section of the config. Received: "3"; set one of its '
     "fields, early_stopping.patience, early_stopping.metric, early_stopping.mode, "
     "early_stopping.min_delta, early_stopping.restore_best."),
    ("data.global_batch_size", "many", "`data.global_batch_size` must be an integer. Received: "
     '"many"; try 64.'),
    ("data.global_batch_size", "0", "`data.global_batch_size` must be at least 1. Received: 0; "
     "try 64."),
    ("data.global_batch_size", "3000000000", "`data.global_batch_size` must be at most 2147483647. "
     "Received: 3000000000; try 64."),
    ("data.global_batch_size", "6.5", "`data.global_batch_size` must be an integer. Received: "
     '"6.5"; try 64.'),
    ("data.shuffle", "yes", '`data.shuffle` must be true or false. Received: "yes"; try true.'),
    ("data.dir", "a\nb", '`data.dir` must be one line of text. Received: "a\\nb"; remove the '
     "characters that are not printable."),
    ("data.name", "minst", "`data.name` must be one of digits, mnist, dense_100, linear_100, "
     'relu_regression. Received: "minst"; did you mean mnist?'),
    ("data.placement", "ram", "`data.placement` must be one of auto, resident, stream. Received: "
     '"ram"; try auto.'),
    ("optimizer.learning_rate", "0", "`optimizer.learning_rate` must be above 0. Received: 0.0; "
     "try 0.001."),
    ("optimizer.learning_rate", "nan", "`optimizer.learning_rate` must be a finite number. "
     "Received: NaN; try 0.001."),
    ("optimizer.momentum", "1", "`optimizer.momentum` must be below 1. Received: 1.0; try 0."),
    ("optimizer.momentum", "0.9", "`optimizer.momentum` must be 0 for adam, which has none. "
     "Received: 0.9; use sgd or rmsprop, or leave it out."),
    ("optimizer.name", "muon", "`optimizer.name` must be another than muon unless a recipe brings its "
     "own model, as XLA rounds muon's matrix products differently inside a loop. Received: muon; use "
     "adamw, or bring the model."),
    ("model.hidden_units", "128;64", "`model.hidden_units` must be integers, as in 128,64, or () "
     'for none. Received: "128;64"; try 128.'),
    ("model.hidden_units", "128,0", "`model.hidden_units` must be at least 1. Received: [128, 0]; "
     "try 128."),
    ("model.hidden_units", ",".join(["8"] * 101), "`model.hidden_units` must name at most 100 "
     "layers. Received: 101; name fewer."),
    ("model.output_activation", "relu", "`model.output_activation` must be empty for a "
     'classification, whose loss applies the softmax itself. Received: "relu" for digits; leave it '
     "out."),
    ("model.output_activation", "softmax", '`model.output_activation` must be one of "", relu, '
     'elu, gelu, selu, sigmoid, silu, softplus, tanh. Received: "softmax"; try "".'),
    ("train.sequential_blocks", "true", "`train.sequential_blocks` must be false unless a recipe "
     "brings its own model, as XLA orders the operations of other models itself. Received: true; leave "
     "it out, or lower `data.global_batch_size`."),
    ("train.compiler", "graph", "`train.compiler` must be auto unless a recipe brings its own model, as "
     "XLA compiles all others. Received: graph; leave it out."),
    ("sync.mode", "often", "`sync.mode` must be one of auto, gradients, parameters, dynamic, "
     'federated, async, async_window. Received: "often"; try auto.'),
    ("name", "../x", "`name` must be usable as a file name: letters, digits, `_`, `-` and `.`. "
     'Received: "../x"; set another with --config.name=NAME.'),
]  # fmt: skip


@pytest.mark.parametrize("name, text, expected", MISTAKES)
def test_a_mistaken_override_is_refused_with_a_fix(name, text, expected):
    assert message(override, name, text) == expected


def test_a_long_value_is_shown_short():
    text = message(override, "data.global_batch_size", "9" * 10_000)
    assert len(text) < 250


def test_a_config_survives_json():
    config = config_load.resolve(
        "linear_100", {"model.hidden_units": "3,4", "optimizer.learning_rate": "0.1"}
    )
    assert config_load.from_json(config_lib.to_json(config)) == config


def test_a_run_can_be_repeated_from_its_config_json(tmp_path):
    config = override("data.global_batch_size", "32")
    path = tmp_path / "config.json"
    path.write_text(config_lib.to_json(config))
    assert config_load.resolve(str(path)) == config
    assert config_load.resolve(str(path), {"train.seed": "3"}).train.seed == 3


FIX = f"; {UNCHANGED}."
BAD_JSON = [
    ("{", "a config must be JSON, but Expecting property name enclosed in double quotes: line 1 "
     'column 2 (char 1). Received: "{"' + FIX),
    ("[]", "the config must be a JSON object. Received: []" + FIX),
    ("{}", "`name` is missing. Received: []" + FIX),
    (changed("data", 3), "`data` must be a JSON object. Received: 3" + FIX),
    (changed("data", {}), "`data.name` is missing. Received: []" + FIX),
    (changed("train.sed", 3), "`train.sed` is not a config field. Received: 3; did you mean "
     "`train.seed`?"),
    (changed("train.seed", "3"), '`train.seed` must be an integer. Received: "3"; try 0.'),
    (changed("train.seed", True), "`train.seed` must be an integer. Received: true; try 0."),
    (changed("train.seed", None), "`train.seed` must be an integer. Received: null; try 0."),
    (changed("data.shuffle", 1), "`data.shuffle` must be true or false. Received: 1; try true."),
    (changed("data.name", 1), "`data.name` must be one line of text. Received: 1; try digits."),
    (changed("model.hidden_units", [1.5]), "`model.hidden_units` must be integers, as in 128,64, "
     "or () for none. Received: [1.5]; try 128."),
    (changed("optimizer.learning_rate", math.inf), "`optimizer.learning_rate` must be a finite "
     "number. Received: Infinity; try 0.001."),
    (changed("optimizer.learning_rate", 10**400), None),
    ("[" * 100_000, None),
    ('{"name": ' + "1" * 10_000 + "}", None),
]  # fmt: skip


@pytest.mark.parametrize("text, expected", BAD_JSON, ids=range(len(BAD_JSON)))
def test_a_damaged_config_json_is_refused_in_one_line(text, expected):
    found = message(config_load.from_json, text)
    assert expected in (None, found)
    assert len(found) < 400


def test_an_error_in_a_config_json_names_its_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("[]")
    expected = f"{path}: the config must be a JSON object. Received: []" + FIX
    assert message(config_load.resolve, str(path)) == expected


def test_an_unknown_recipe_is_answered_with_the_nearest_and_all():
    assert message(config_load.resolve, "mnist_dens") == (
        "`--config` must be a recipe's name, or the path of a recipe or a config.json. Received: "
        '"mnist_dens"; did you mean mnist_dense? The recipes are dense_100, digits_dense, '
        "digits_gru, digits_pairs, digits_sweep, digits_vit, fashion_cnn, "
        "linear_100, mnist_cnn, mnist_dense, mnist_dense_ps, mnist_dp, mnist_fedavg, mnist_local_sgd, "
        "relu_regression, tabular, text_gru, wide_dense."
    )


@pytest.mark.parametrize("name", ["nowhere.py", "a\0b.py", "x" * 5000 + ".json"])
def test_a_path_that_cannot_be_read_is_refused(name, tmp_path):
    assert "`--config` must be a file that can be read" in message(
        config_load.resolve, str(tmp_path / name)
    )


def test_a_folder_is_refused_with_the_path_of_its_config_json(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert message(config_load.resolve, f"{tmp_path}/") == (
        f'`--config` must be a file. Received: "{tmp_path}", a folder; name '
        f"{tmp_path / 'config.json'}."
    )


HEAD = "from trainer.config import ExperimentConfig, DataConfig, TrainConfig\n"
BAD_RECIPES = [
    ("x = 1 +\n", "recipe {path}, line 1: SyntaxError: invalid syntax"),
    ("\n\nimport no_such_module\n", "recipe {path}, line 3: ModuleNotFoundError: No module named "
     "'no_such_module'; correct the recipe."),
    ("def get_config():\n    return {}['x']\n", "recipe {path}, line 2: KeyError: 'x'; correct the "
     "recipe."),
    ("raise SystemExit('no')\n", "recipe {path}, line 1: SystemExit: no; correct the recipe."),
    (HEAD + "def get_config():\n    return ExperimentConfig(train=TrainConfig(step=3))\n",
     "recipe {path}, line 3: TypeError: "),
    ("x = 1\n", "recipe {path} must define `get_config()`; see "),
    ("def get_config():\n    return 3\n", "`get_config` of {path} must return an "
     "ExperimentConfig. Received: 3; return one."),
    (HEAD + "def get_config():\n    return ExperimentConfig(data='mnist')\n",
     '`data` must be a DataConfig. Received: "mnist"; write DataConfig(...).'),
    (HEAD + "def get_config():\n    return ExperimentConfig(data=DataConfig(name=3))\n",
     "`data.name` must be one line of text. Received: 3; try digits."),
    (HEAD + "def get_config():\n    return ExperimentConfig(data=DataConfig(name={(1, 2): {3}}))\n",
     "`data.name` must be one line of text. Received: {{}}; try digits."),
]  # fmt: skip


@pytest.mark.parametrize("source, expected", BAD_RECIPES)
def test_a_recipe_that_fails_is_reported_with_its_line(source, expected, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(source)
    assert expected.format(path=path) in message(config_load.resolve, str(path))


def test_a_recipe_by_path_is_named_after_its_file_and_may_use_lists_and_integers(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from trainer.config import *\nfrom trainer.config import ModelConfig, OptimizerConfig\n"
        "def get_config():\n    return ExperimentConfig(model=ModelConfig(hidden_units=[3]),\n"
        "        optimizer=OptimizerConfig(learning_rate=1))\n"
    )
    config = config_load.resolve(str(path))
    assert config.name == "mine"
    assert config.model.hidden_units == (3,)
    assert type(config.optimizer.learning_rate) is float


def test_a_recipe_edited_within_a_second_is_read_anew(tmp_path):
    path = tmp_path / "mine.py"
    for seed in (1, 2):
        path.write_text(
            f"{HEAD}def get_config():\n    return ExperimentConfig(train=TrainConfig(seed={seed}))"
        )
        assert config_load.resolve(str(path)).train.seed == seed


def _untyped(value: Any) -> Any:
    """The value, as in a recipe that no type checker has checked."""
    return value


@pytest.mark.parametrize(
    "config",
    [
        ExperimentConfig(data=DataConfig(global_batch_size=-1)),
        ExperimentConfig(model=ModelConfig(hidden_units=(8, _untyped("8")))),
        ExperimentConfig(optimizer=OptimizerConfig(name="adma")),
        ExperimentConfig(train=TrainConfig(epochs=0)),
        ExperimentConfig(name=_untyped(None)),
        ExperimentConfig(data=_untyped(None)),
    ],
)
def test_validate_refuses_values_that_a_dataclass_accepts(config):
    message(rules.validate, config)


def test_every_field_is_documented_and_its_default_is_valid():
    assert len(FIELDS) == len(config_lib.flatten(ExperimentConfig()))
    for field in FIELDS.values():
        assert field.doc
        assert field.check(field.default) == field.default


def test_the_fields_that_may_change_in_a_workdir_exist():
    assert not config_lib.TRAJECTORY_FREE - {*FIELDS}


def test_the_data_sets_are_those_that_can_be_loaded():
    assert FIELDS["data.name"].choices == tuple(registry.LOADERS)


def test_keras_knows_every_activation_and_optimizer():
    from keras import activations

    from trainer.model.optimizers import make_optimizer

    for name in model_schema.ACTIVATIONS:
        assert callable(activations.get(name))
    for name in FIELDS["optimizer.name"].choices:
        assert make_optimizer(OptimizerConfig(name=name)).name == name


def test_a_config_is_hashable_and_frozen():
    config = override("model.hidden_units", "1,2")
    assert len({config, override("model.hidden_units", "1,2")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"


def read(config):
    """The config as `resolve` reads it from a recipe."""
    config = build(ExperimentConfig, config_lib.flatten(config))
    rules.validate(config)
    return config


def valid_or_refused(make, *args):
    """The valid config, or None if a ConfigError of one short line refused it."""
    refusal = ""
    try:
        config = make(*args)
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal.splitlines()) == 1
        assert len(refusal) < 1000
        return None
    rules.validate(config)
    assert config_load.from_json(config_lib.to_json(config)) == config
    return config


NUMBERS = st.one_of(st.integers(), st.floats()).map(str)
TEXTS = st.one_of(
    st.text(),
    NUMBERS,
    st.lists(NUMBERS).map(",".join),
    st.sampled_from([choice for field in FIELDS.values() for choice in field.choices]),
)
NAMES = st.one_of(st.sampled_from([*FIELDS, "data", "train."]), st.text())


@given(st.dictionaries(NAMES, TEXTS, max_size=3))
def test_any_overrides_give_a_valid_config_or_a_config_error(overrides):
    valid_or_refused(config_load.resolve, "digits_dense", overrides)


@given(st.text())
def test_any_config_name_gives_a_valid_config_or_a_config_error(name):
    assert bool(valid_or_refused(config_load.resolve, name)) == (name in recipes.names())


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.sampled_from([*FIELDS, "data", "model", "train.extra"]), VALUES)
def test_any_value_in_a_config_json_gives_a_valid_config_or_a_config_error(name, value):
    valid_or_refused(config_load.from_json, changed(name, value))


@given(st.text() | VALUES.map(json.dumps))
def test_any_text_as_a_config_json_is_refused(text):
    assert not valid_or_refused(config_load.from_json, text)


@given(st.data())
def test_any_character_of_a_config_json_may_be_damaged(data):
    text = config_lib.to_json(ExperimentConfig())
    place = data.draw(st.integers(0, len(text) - 1))
    valid_or_refused(config_load.from_json, text[:place] + data.draw(st.text()) + text[place + 1 :])


@given(st.sampled_from([*FIELDS]), VALUES)
def test_any_value_in_a_recipe_gives_a_valid_config_or_a_config_error(name, value):
    section, _, leaf = name.rpartition(".")
    config = ExperimentConfig()
    changed_part = dataclasses.replace(
        getattr(config, section) if section else config, **{leaf: value}
    )
    config = dataclasses.replace(config, **{section: changed_part}) if section else changed_part
    valid_or_refused(read, config)
