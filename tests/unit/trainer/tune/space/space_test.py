"""Spaces: their values, their form in keras-tuner, and the exact messages for invalid ones."""

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import load as config_load
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError
from trainer.tune.space import check as space_check
from trainer.tune.space import space as space_lib
from trainer.tune.space.dimension import FLAGS, parse, searchable_fields
from trainer.tune.space.space import between, choice

BASE = config_load.resolve("digits_dense")
HEAD = "from trainer.sweep.space import between, choice\n"


def space_of(tmp_path, lines, config="digits_dense"):
    path = tmp_path / "space.py"
    path.write_text(f"{HEAD}def get_space():\n    return {{{lines}}}\n")
    return space_lib.load(config, str(path), {})


def from_typed(config="digits_dense", **texts):
    names = {name.replace("__", "."): text for name, text in texts.items()}
    return space_lib.load(config, "", names)


def check_error(space, **overrides):
    names = {name.replace("__", "."): text for name, text in overrides.items()}
    with pytest.raises(ConfigError) as caught:
        space_check.check(space, config_load.resolve("digits_dense", names))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load_error(*args):
    with pytest.raises(ConfigError) as caught:
        space_lib.load(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


MOMENTUM = """
    "optimizer.name": choice("adam", "sgd", "rmsprop"),
    "optimizer.momentum": between(0, 0.9, step=0.3, when={"optimizer.name": ("sgd", "rmsprop")}),
"""


def test_importing_a_space_imports_neither_tensorflow_nor_keras_tuner():
    code = (
        "import sys, trainer.tune.space.space, trainer.tune.search.oracle; "
        "sys.exit(bool({'tensorflow', 'keras_tuner', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_recipe_defines_its_space():
    space = space_lib.load("digits_sweep", "", {})
    names = [dimension.name for dimension in space.dimensions]
    assert names[:2] == ["optimizer.learning_rate", "model.hidden_units"]
    space_check.check(space, config_load.resolve("digits_sweep"))


def test_a_recipe_a_json_file_and_flags_can_define_the_same_space(tmp_path):
    recipe = space_of(tmp_path, '"train.seed": between(0, 9, step=3), "--ps": choice(0, 1)')
    path = tmp_path / "space.json"
    path.write_text(json.dumps(recipe.as_dict()))
    assert space_lib.load("digits_dense", str(path), {}) == recipe
    assert space_lib.load("digits_dense", "", {"train.seed": "0..9:3", "ps": "0|1"}) == recipe
    assert space_lib.load("digits_dense", "", {"train.seed": "0..9:3", "--ps": "0|1"}) == recipe


def test_numbers_may_be_quoted_and_the_file_may_be_yaml(tmp_path):
    """PyYAML reads 1e-4, which has no point, as a text."""
    wanted = {
        "optimizer.learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
        "data.global_batch_size": {"choices": [64, 128]},
    }
    texts = {
        "space.json": '{"optimizer.learning_rate": {"low": "1e-4", "high": "0.1", "log": true}, '
        '"data.global_batch_size": {"choices": [64.0, "128.0"]}}',
        "space.yaml": "optimizer.learning_rate: {low: 1e-4, high: 0.1, log: true}\n"
        "data.global_batch_size:\n  choices: ['64', 128]\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        space = space_lib.load("digits_dense", str(tmp_path / name), {})
        space_check.check(space, BASE)
        sizes = space.dimensions[1]
        assert space.dimensions[0].as_dict() == wanted["optimizer.learning_rate"]
        assert sizes.encoded_choices == (64, 128)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a: [", "must be YAML, but"),
        ("a: &b [1]\nc: *b", "aliases"),
        ("[" * 1500 + "]" * 1500, "too deeply"),
        ("7", "must be an object"),
        ("1: {low: 1, high: 2}", "must be an object"),
    ],
)
def test_yaml_that_is_not_a_space_is_refused(tmp_path, text, expected):
    (tmp_path / "space.yml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        space_lib.load("digits_dense", str(tmp_path / "space.yml"), {})
    assert "\n" not in str(caught.value)


def test_a_recorded_space_survives_json():
    recorded = space_lib.load("digits_sweep", "", {}).as_dict()
    assert json.loads(json.dumps(recorded)) == recorded


def test_a_typed_dimension_replaces_the_recipes_and_keeps_its_condition(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(f"{HEAD}def get_space():\n    return {{{MOMENTUM}}}\n")
    space = space_lib.load("digits_dense", str(path), {"optimizer.momentum": "0..0.5"})
    assert [dimension.name for dimension in space.dimensions] == [
        "optimizer.name",
        "optimizer.momentum",
    ]
    assert space.dimensions[1].high == 0.5
    assert space.dimensions[1].when == {"optimizer.name": ("sgd", "rmsprop")}


def test_a_typed_condition_follows_the_values(tmp_path):
    typed = from_typed(
        optimizer__name="adam|sgd|rmsprop",
        optimizer__momentum="0..0.9:0.3 when optimizer.name=sgd|rmsprop",
    )
    assert typed == space_of(tmp_path, MOMENTUM)
    space_check.check(typed, BASE)


def test_a_typed_condition_replaces_the_recipes():
    given = {"optimizer.momentum": "0..0.5 when data.global_batch_size=32|64"}
    assert space_lib.load("digits_sweep", "", given).dimensions[-1].when == {
        "data.global_batch_size": (32, 64)
    }


def test_a_flag_can_be_a_condition_and_can_have_one():
    space = from_typed(workers="1|2", ps="0|1 when workers=2")
    assert space.dimensions[1].when == {"--workers": (2,)}
    space_check.check(space, BASE)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "0..0.9 when sgd",
            '`space.optimizer.momentum` must have FIELD=VALUE after `when`. Received: "sgd"; write it '
            "as in `0..0.9 when optimizer.name=sgd`.",
        ),
        (
            "0..0.9 when optimizer.nam=sgd",
            "`space.optimizer.nam` must name a config field, or one of --workers, --ps, "
            "--devices_per_worker, --strategy, --transport. Received: "
            '"optimizer.nam=sgd"; did you mean `space.optimizer.name`?',
        ),
        (
            "0..0.9 when train.seed=x",
            '`space.train.seed` must be an integer. Received: "x"; try 0.',
        ),
    ],
)
def test_an_invalid_condition_is_reported(text, message):
    assert load_error("digits_dense", "", {"optimizer.momentum": text}) == message


def test_a_typed_condition_must_come_after_the_dimension_it_names():
    space = from_typed(
        optimizer__momentum="0..0.9 when optimizer.name=sgd", optimizer__name="sgd|adam"
    )
    assert check_error(space).startswith(
        "`space.optimizer.momentum` must name in `when` a choice that "
    )


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("optimizer.learning_rate", "1e-4..1e-1:log", between(1e-4, 1e-1, log=True)),
        ("optimizer.learning_rate", "1e-4..1e-1:10:log", between(1e-4, 0.1, step=10, log=True)),
        ("data.global_batch_size", "32..128:32", between(32, 128, step=32)),
        ("train.seed", "0..9", between(0, 9)),
        ("model.hidden_units", "64|128|128,64|()", choice((64,), (128,), (128, 64), ())),
        ("data.shuffle", "true|false", choice(True, False)),
        ("optimizer.name", "sgd|adam", choice("sgd", "adam")),
        ("data.dir", "../a|../b", choice("../a", "../b")),
        ("train.seed", "5", choice(5)),
    ],
)
def test_a_typed_dimension_is_parsed(name, text, expected):
    (dimension,) = space_lib.load("digits_dense", "", {name: text}).dimensions
    assert (dimension.name, dimension.as_dict()) == (name, expected.as_dict())


@given(name=st.sampled_from(sorted(searchable_fields())), text=st.text(max_size=20))
def test_any_text_is_a_dimension_or_an_error_of_one_line_that_names_it(name, text):
    try:
        result = f"`space.{parse(name, text).name}`"
    except ConfigError as error:
        result = str(error)
    assert f"`space.{name}" in result and "\n" not in result


@given(
    name=st.sampled_from(
        ["optimizer.learning_rate", "train.seed", "data.global_batch_size", "--ps"]
    ),
    numbers=st.lists(st.one_of(st.floats(), st.integers()), min_size=2, max_size=3),
    log=st.sampled_from(["", ":log"]),
)
def test_any_numbers_are_a_range_or_an_error_of_one_line_that_names_it(name, numbers, log):
    low, high, *step = map(repr, numbers)
    text = ":".join([f"{low}..{high}", *step]) + log
    try:
        space = space_lib.load("digits_dense", "", {name: text})
        space_check.check(space, BASE)
        result = f"`space.{name}` {space.size}"
    except ConfigError as error:
        result = str(error)
    assert f"`space.{name}" in result and "\n" not in result


@given(low=st.floats(1e-6, 1.0), log=st.booleans(), step=st.floats(1.1, 50))
def test_a_range_with_steps_contains_both_its_ends(low, log, step):
    high = low * step**3 if log else low + 3 * step
    (dimension,) = from_typed(
        optimizer__learning_rate=f"{low!r}..{high!r}:{step!r}{':log' * log}"
    ).dimensions
    assert len(dimension.values) == 4
    assert dimension.values[0] == pytest.approx(low) and dimension.values[-1] == pytest.approx(high)


def test_steps_of_a_tenth_are_exact_decimals_and_reach_the_end():
    # keras-tuner itself ends at 0.8, and has 0.30000000000000004.
    space = from_typed(optimizer__momentum="0..0.9:0.1")
    (hyperparameter,) = space.hyperparameters().space
    assert list(hyperparameter.values) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def test_the_size_counts_a_conditional_dimension_only_where_it_is_active(tmp_path):
    space = space_of(tmp_path, MOMENTUM + '"model.hidden_units": choice((64,), (128,))')
    assert space.size == (1 + 4 + 4) * 2
    settings = list(space.settings())
    assert len({json.dumps(setting) for setting in settings}) == space.size
    assert all(space.holds(setting) for setting in settings)
    assert not space.holds(settings[0] | {"optimizer.momentum": 0.3})


def test_a_space_with_a_range_of_floats_has_no_size(tmp_path):
    assert from_typed(optimizer__learning_rate="1e-4..1e-1:log").size is None
    assert from_typed(train__seed="0..9").size == 10


def test_conditions_can_be_nested(tmp_path):
    lines = """
        "data.shuffle": choice(True, False),
        "optimizer.name": choice("adam", "sgd", when={"data.shuffle": (True,)}),
        "optimizer.momentum": choice(0.1, 0.2, 0.3, when={"optimizer.name": "sgd"}),
    """
    space = space_of(tmp_path, lines)
    space_check.check(space, config_load.resolve("digits_dense"))
    assert space.size == 1 + 1 + 3
    momentum = space.hyperparameters().space[2]
    assert [condition.values for condition in momentum.conditions] == [["true"], ["sgd"]]


def test_values_of_keras_tuner_become_typed_texts(tmp_path):
    space = space_of(
        tmp_path,
        MOMENTUM
        + """
        "optimizer.learning_rate": between(1, 100, step=10, log=True),
        "model.hidden_units": choice((64,), (128, 64), ()),
        "model.output_activation": choice("", "relu"),
        "data.shuffle": choice(True, False),
        "data.global_batch_size": between(32, 128, step=32),
        "--workers": choice(1, 2),
        """,
    )
    first = space.hyperparameters().values
    overrides, flags = space.split(first | {"tuner/epochs": 3, "model.hidden_units": "128,64"})
    assert flags == {"--workers": "1"}
    assert overrides == {
        "optimizer.name": "adam",
        "optimizer.learning_rate": "1",
        "model.hidden_units": "128,64",
        "model.output_activation": "",
        "data.shuffle": "true",
        "data.global_batch_size": "32",
    }
    config = config_load.resolve("digits_dense", overrides)
    assert config.model.hidden_units == (128, 64) and config.data.shuffle is True


def test_every_setting_reaches_the_config(tmp_path):
    space = space_of(tmp_path, MOMENTUM + '"model.hidden_units": choice((), (128, 64))')
    for setting in space.settings():
        overrides, _ = space.split(setting)
        values = config_lib.flatten(config_load.resolve("digits_dense", overrides))
        assert values["optimizer.momentum"] == setting.get("optimizer.momentum", 0)
        assert values["model.hidden_units"] == (
            [] if setting["model.hidden_units"] == "()" else [128, 64]
        )


INVALID_TYPED = [
    ("optimizer__momentum", "0..0.9", "`space.optimizer.momentum` has 0.9, for which "
     "`optimizer.momentum` must be 0 for adam, which has none. Received: 0.9; use sgd or "
     "rmsprop, or leave it out."),
    ("train__seed", "9..0", "`space.train.seed` must have low below high. Received: [9, 0]; swap "
     "them."),
    ("train__seed", "0..9:log", "`space.train.seed` must have low above 0 for a log range. Received: "
     "0; raise it, or leave out log."),
    ("train__seed", "1..9:1:log", "`space.train.seed step` must be above 1 for a log range, whose values "
     "are multiplied by it. Received: 1; try 2."),
    ("train__seed", "0..9:10", "`space.train.seed step` must fit between 0 and 9. Received: 10; lower "
     "it, or leave it out."),
    ("optimizer__momentum", "0..0.9:1e-6", "`space.optimizer.momentum step` must make at most 10,000 "
     "values. Received: 1e-06; raise it, or leave it out."),
    ("train__seed", "7", "`space.train.seed` must have at least two choices. Received: [7]; set it "
     "with --config.train.seed=VALUE instead."),
    ("train__seed", "7|8|07", "`space.train.seed` must have each choice once. Received: [7, 8, 7]; "
     "remove one 7."),
]  # fmt: skip


@pytest.mark.parametrize("name, text, expected", INVALID_TYPED)
def test_an_invalid_typed_dimension_is_refused(name, text, expected):
    assert check_error(from_typed(**{name: text})) == expected


INVALID_IN_RECIPES = [
    ('"optimizer.name": between(1, 2)', '`space.optimizer.name` must be a number to have a range. '
     'Received: {"low": 1, "high": 2}; use choice(...).'),
    ('"train.seed": between(0, 9.5)', "`space.train.seed` must be an integer. Received: 9.5; try 0."),
    ('"train.seed": between(0, 9, step=0)', "`space.train.seed step` must be above 0. Received: 0; "
     "try 2."),
    ('"optimizer.momentum": between(0, 1)', "`space.optimizer.momentum` must be below 1. Received: "
     "1.0; try 0."),
    ('"optimizer.name": choice("adam", "sdg")', "`space.optimizer.name` must be one of sgd, adam, "
     'adamw, rmsprop, adagrad, adadelta, adafactor, adamax, ftrl, lamb, lion, muon, nadam. Received: '
     '"sdg"; did you mean sgd?'),
    ('"model.hidden_units": choice(64, 128)', "`space.model.hidden_units` must be integers, as in "
     "128,64, or () for none. Received: 64; try 128."),
    ('"train.seed": between(0, 9, log="yes")', "`space.train.seed` must have `log` true or false. "
     'Received: "yes"; try true.'),
    ('"optimizer.learning_rat": choice(1, 2)', "`space.optimizer.learning_rat` must name a config "
     "field, or one of --workers, --ps, --devices_per_worker, --strategy, "
     '--transport. Received: {"choices": [1, 2]}; did you mean `space.optimizer.learning_rate`?'),
    ('"--worker": choice(1, 2)', "`space.--worker` must name a config field, "
     "or one of --workers, --ps, --devices_per_worker, --strategy, --transport. Received: "
     '{"choices": [1, 2]}; did you mean `space.workers`?'),
    ('"name": choice("a", "b")', "`space.name` must name a config field, "
     "or one of --workers, --ps, --devices_per_worker, --strategy, --transport. Received: "
     '{"choices": ["a", "b"]}; did you mean `space.optimizer.name`?'),
    ('"--ps": choice(0, -1)', "`space.--ps` must be at least 0. Received: -1; try 0."),
    ('"train.seed": between(0, 9, when={"optimizer.name": "sgd"})', "`space.train.seed` must name in "
     '`when` a choice that comes before it. Received: "optimizer.name"; add that choice '
     "before it."),
    (MOMENTUM + '"train.seed": between(0, 9, when={"optimizer.momentum": 0})', "`space.train.seed` "
     'must name in `when` a choice that comes before it. Received: "optimizer.momentum"; use one of '
     "optimizer.name."),
    (MOMENTUM + '"train.seed": between(0, 9, when={"optimizer.name": "adagrad"})', "`space.train.seed` "
     'must name in `when` choices that `space.optimizer.name` has. Received: "adagrad"; use one of '
     '["adam", "sgd", "rmsprop"].'),
    (MOMENTUM + '"train.seed": between(0, 9, when={"optimizer.name": ()})', "`space.train.seed` must "
     'name values in `when`. Received: {"low": 0, "high": 9, "when": {"optimizer.name": []}}; name '
     "some of `optimizer.name`."),
    (MOMENTUM + '"data.shuffle": choice(True, False), "train.seed": between(0, 9, '
     'when={"optimizer.name": "sgd", "data.shuffle": True})', "`space.train.seed` must name only "
     'one dimension in `when`. Received: ["optimizer.name", "data.shuffle"]; keep one; it may have a '
     '`when` itself.'),
]  # fmt: skip


@pytest.mark.parametrize("lines, expected", INVALID_IN_RECIPES)
def test_an_invalid_dimension_of_a_recipe_is_refused(tmp_path, lines, expected):
    assert check_error(space_of(tmp_path, lines)) == expected


def test_a_value_may_be_valid_only_together_with_another_dimensions_but_not_never(tmp_path):
    lines = '"optimizer.name": choice("adam", "sgd"), "optimizer.momentum": choice(0.0, 0.9)'
    space_check.check(space_of(tmp_path, lines), config_load.resolve("digits_dense"))
    lines = '"optimizer.name": choice("adam", "adamw"), "optimizer.momentum": choice(0.0, 0.9)'
    assert check_error(space_of(tmp_path, lines)).startswith(
        "`space.optimizer.momentum` has 0.9, for which "
    )


def test_a_value_that_is_invalid_in_the_base_config_is_refused(tmp_path):
    space = space_of(tmp_path, '"optimizer.name": choice("adam", "sgd")')
    message = check_error(space, optimizer__name="sgd", optimizer__momentum="0.9")
    assert message.startswith(
        '`space.optimizer.name` has "adam", for which `optimizer.momentum` must be 0'
    )


def test_the_error_of_an_invalid_value_is_that_of_the_configs_rule(tmp_path):
    space = space_of(tmp_path, '"data.global_batch_size": between(30, 64)')
    assert check_error(space, train__reduction_blocks="16") == (
        "`space.data.global_batch_size` has 30, for which `train.reduction_blocks` must divide the "
        "global batch evenly. Received: 16 for `data.global_batch_size` 30; try 2."
    )


def test_the_error_for_a_missing_space_says_how_to_define_one(tmp_path):
    expected = (
        '`--space` is missing, and "{}" has no `get_space()`. Received: nothing to search; write one, '
        "or try --space.optimizer.learning_rate=1e-4..1e-1:log."
    )
    assert load_error("digits_dense", "", {}) == expected.format("digits_dense")
    path = tmp_path / "config.json"
    path.write_text(config_lib.to_json(config_load.resolve("digits_sweep")))
    assert load_error(str(path), "", {}) == expected.format(path)


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("space.json", "[1]", "`--space` must be an object of fields by name. Received: [1]; write "
         '{"train.seed": {"low": 0, "high": 9}}.'),
        ("space.json", "{", "`--space` must be JSON, but "),
        ("space.json", '{"train.seed": {"low": 0}}', "`space.train.seed` must have low and high, or "
         'choices. Received: {"low": 0}; '),
        ("space.json", '{"train.seed": {"low": 0, "high": 1, "when": 3}}', "`space.train.seed` must "),
        ("space.json", '{"train.seed": [1, 2]}', "`space.train.seed` must have low and high, "),
        ("space.py", "x = 1", "recipe PATH must define `get_space()`; see "),
        ("space.py", "def get_space(): return 3", "`get_space` of PATH must return a dict from names "
         "to `between` or `choice`. Received: 3"),
        ("space.py", "def get_space(): return {'train.seed': (1, 2)}", "`get_space` of PATH must "
         'return a dict from names to `between` or `choice`. Received: [1, 2] for "train.seed"; see '),
        ("space.py", "def get_space():\n  return 1 / 0", "recipe PATH, line 2: ZeroDivisionError: "),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_space_is_refused(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text)
    assert load_error("digits_dense", str(path), {}).startswith(expected.replace("PATH", str(path)))


def test_the_error_for_a_missing_file_names_the_flag(tmp_path):
    assert load_error("digits_dense", "digit_sweep", {}).startswith(
        "`--space` must be a recipe's name, or the path of a recipe or a JSON or YAML file. "
        'Received: "digit_sweep"; did you mean digits_sweep?'
    )
    path = tmp_path / "none.json"
    assert load_error("digits_dense", str(path), {}) == (
        f'`--space` must be a file that can be read. Received: "{path}", but No such file or '
        "directory; correct the path, or use a recipe's name, e.g. --space=digits_sweep."
    )


def test_every_flag_of_a_space_is_a_flag_of_launch_or_train():
    assert set(FLAGS) <= set(searchable_fields())


def test_keras_tuner_gets_floats_as_floats_and_integers_as_integers(tmp_path):
    space = space_of(
        tmp_path,
        '"optimizer.learning_rate": between(1, 4), "train.seed": between(1, 1000, log=True)',
    )
    rate, seed = space.hyperparameters().space
    assert (type(rate).__name__, rate.prob_to_value(0.5)) == ("Float", 2.5)
    assert (type(seed).__name__, seed.prob_to_value(0.5)) == ("Int", int(math.sqrt(1001)))
