"""A space as values and as what keras-tuner makes of it, and the exact message for a bad one."""

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
from trainer.tune.space.dimension import FLAGS, parse, searchable
from trainer.tune.space.space import between, choice

BASE = config_load.resolve("digits_dense")
HEAD = "from trainer.sweep.space import between, choice\n"


def space_of(tmp_path, lines, config="digits_dense"):
    path = tmp_path / "space.py"
    path.write_text(f"{HEAD}def get_space():\n    return {{{lines}}}\n")
    return space_lib.load(config, str(path), {})


def typed(config="digits_dense", **texts):
    names = {name.replace("__", "."): text for name, text in texts.items()}
    return space_lib.load(config, "", names)


def refused(space, **overrides):
    names = {name.replace("__", "."): text for name, text in overrides.items()}
    with pytest.raises(ConfigError) as caught:
        space_check.check(space, config_load.resolve("digits_dense", names))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unloadable(*args):
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


def test_a_recipe_brings_its_space():
    space = space_lib.load("digits_sweep", "", {})
    names = [dimension.name for dimension in space.dimensions]
    assert names[:2] == ["optimizer.learning_rate", "model.hidden_units"]
    space_check.check(space, config_load.resolve("digits_sweep"))


def test_a_space_may_be_anothers_recipe_or_json_or_typed_and_is_the_same(tmp_path):
    recipe = space_of(tmp_path, '"train.seed": between(0, 9, step=3), "--ps": choice(0, 1)')
    path = tmp_path / "space.json"
    path.write_text(json.dumps(recipe.as_dict()))
    assert space_lib.load("digits_dense", str(path), {}) == recipe
    assert space_lib.load("digits_dense", "", {"train.seed": "0..9:3", "ps": "0|1"}) == recipe
    assert space_lib.load("digits_dense", "", {"train.seed": "0..9:3", "--ps": "0|1"}) == recipe


def test_what_a_sweep_records_of_its_space_is_read_back_the_same():
    recorded = space_lib.load("digits_sweep", "", {}).as_dict()
    assert json.loads(json.dumps(recorded)) == recorded


def test_what_is_typed_replaces_a_dimension_and_keeps_its_condition(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(f"{HEAD}def get_space():\n    return {{{MOMENTUM}}}\n")
    space = space_lib.load("digits_dense", str(path), {"optimizer.momentum": "0..0.5"})
    assert [dimension.name for dimension in space.dimensions] == [
        "optimizer.name",
        "optimizer.momentum",
    ]
    assert space.dimensions[1].high == 0.5
    assert space.dimensions[1].when == {"optimizer.name": ("sgd", "rmsprop")}


def test_a_condition_is_typed_after_the_values(tmp_path):
    typed_whole = typed(
        optimizer__name="adam|sgd|rmsprop",
        optimizer__momentum="0..0.9:0.3 when optimizer.name=sgd|rmsprop",
    )
    assert typed_whole == space_of(tmp_path, MOMENTUM)
    space_check.check(typed_whole, BASE)


def test_a_condition_that_is_typed_replaces_the_recipes():
    given = {"optimizer.momentum": "0..0.5 when data.global_batch_size=32|64"}
    assert space_lib.load("digits_sweep", "", given).dimensions[-1].when == {
        "data.global_batch_size": (32, 64)
    }


def test_a_flag_may_be_a_condition_and_have_one():
    space = typed(workers="1|2", ps="0|1 when workers=2")
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
            "`space.optimizer.nam` is nothing that a sweep can search: a field of the config, or one of "
            "--workers, --ps, --devices_per_worker, --strategy, --transport. Received: "
            '"optimizer.nam=sgd"; did you mean `space.optimizer.name`?',
        ),
        (
            "0..0.9 when train.seed=x",
            '`space.train.seed` must be an integer. Received: "x"; try 0.',
        ),
    ],
)
def test_a_condition_that_is_none_is_told(text, message):
    assert unloadable("digits_dense", "", {"optimizer.momentum": text}) == message


def test_a_typed_condition_must_stand_after_what_it_names():
    space = typed(optimizer__momentum="0..0.9 when optimizer.name=sgd", optimizer__name="sgd|adam")
    assert refused(space).startswith(
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
def test_a_dimension_is_typed(name, text, expected):
    (dimension,) = space_lib.load("digits_dense", "", {name: text}).dimensions
    assert (dimension.name, dimension.as_dict()) == (name, expected.as_dict())


@given(name=st.sampled_from(sorted(searchable())), text=st.text(max_size=20))
def test_any_text_is_a_dimension_or_one_line_that_names_it(name, text):
    try:
        told = f"`space.{parse(name, text).name}`"
    except ConfigError as error:
        told = str(error)
    assert f"`space.{name}" in told and "\n" not in told


@given(
    name=st.sampled_from(
        ["optimizer.learning_rate", "train.seed", "data.global_batch_size", "--ps"]
    ),
    numbers=st.lists(st.one_of(st.floats(), st.integers()), min_size=2, max_size=3),
    log=st.sampled_from(["", ":log"]),
)
def test_any_numbers_are_a_range_or_one_line_that_names_it(name, numbers, log):
    low, high, *step = map(repr, numbers)
    text = ":".join([f"{low}..{high}", *step]) + log
    try:
        space = space_lib.load("digits_dense", "", {name: text})
        space_check.check(space, BASE)
        told = f"`space.{name}` {space.size}"
    except ConfigError as error:
        told = str(error)
    assert f"`space.{name}" in told and "\n" not in told


@given(low=st.floats(1e-6, 1.0), log=st.booleans(), step=st.floats(1.1, 50))
def test_a_range_of_steps_has_both_its_first_and_its_last_step(low, log, step):
    high = low * step**3 if log else low + 3 * step
    (dimension,) = typed(
        optimizer__learning_rate=f"{low!r}..{high!r}:{step!r}{':log' * log}"
    ).dimensions
    assert len(dimension.values) == 4
    assert dimension.values[0] == pytest.approx(low) and dimension.values[-1] == pytest.approx(high)


def test_a_tenth_added_nine_times_is_nine_tenths():
    # keras-tuner itself ends at 0.8, and has 0.30000000000000004.
    space = typed(optimizer__momentum="0..0.9:0.1")
    (hyperparameter,) = space.hyperparameters().space
    assert list(hyperparameter.values) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def test_the_size_counts_a_condition_only_where_it_holds(tmp_path):
    space = space_of(tmp_path, MOMENTUM + '"model.hidden_units": choice((64,), (128,))')
    assert space.size == (1 + 4 + 4) * 2
    settings = list(space.settings())
    assert len({json.dumps(setting) for setting in settings}) == space.size
    assert all(space.holds(setting) for setting in settings)
    assert not space.holds(settings[0] | {"optimizer.momentum": 0.3})


def test_a_space_with_a_range_of_real_numbers_has_no_size(tmp_path):
    assert typed(optimizer__learning_rate="1e-4..1e-1:log").size is None
    assert typed(train__seed="0..9").size == 10


def test_a_condition_may_rest_on_a_condition(tmp_path):
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


def test_keras_tuners_values_become_what_a_person_would_type(tmp_path):
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


def test_every_setting_reaches_the_config_it_says(tmp_path):
    space = space_of(tmp_path, MOMENTUM + '"model.hidden_units": choice((), (128, 64))')
    for setting in space.settings():
        overrides, _ = space.split(setting)
        values = config_lib.flatten(config_load.resolve("digits_dense", overrides))
        assert values["optimizer.momentum"] == setting.get("optimizer.momentum", 0)
        assert values["model.hidden_units"] == (
            [] if setting["model.hidden_units"] == "()" else [128, 64]
        )


BAD = [
    ("optimizer__momentum", "0..0.9", "`space.optimizer.momentum` has 0.9, for which "
     "`optimizer.momentum` must be 0 for adam, which has none. Received: 0.9; use sgd or "
     "rmsprop, or leave it out."),
    ("train__seed", "9..0", "`space.train.seed` must have low below high. Received: [9, 0]; swap them, "
     "or leave it out."),
    ("train__seed", "0..9:log", "`space.train.seed` must have low above 0 where it is log. Received: "
     "0; raise it, or leave out log."),
    ("train__seed", "1..9:1:log", "`space.train.seed step` must be above 1 where it is log, as values "
     "are multiplied with it. Received: 1; try 2."),
    ("train__seed", "0..9:10", "`space.train.seed step` must fit between 0 and 9. Received: 10; lower "
     "it, or leave it out."),
    ("optimizer__momentum", "0..0.9:1e-6", "`space.optimizer.momentum step` must make at most 10,000 "
     "values. Received: 1e-06; raise it, or leave it out."),
    ("train__seed", "7", "`space.train.seed` must have at least two choices. Received: [7]; set it "
     "with --config.train.seed=VALUE instead."),
    ("train__seed", "7|8|07", "`space.train.seed` must have each choice once. Received: [7, 8, 7]; "
     "take out one 7."),
]  # fmt: skip


@pytest.mark.parametrize("name, text, expected", BAD)
def test_a_dimension_that_cannot_be_searched_is_refused(name, text, expected):
    assert refused(typed(**{name: text})) == expected


WRITTEN = [
    ('"optimizer.name": between(1, 2)', '`space.optimizer.name` is no number, so has no range. '
     'Received: {"low": 1, "high": 2}; use choice(...).'),
    ('"train.seed": between(0, 9.5)', "`space.train.seed` must be an integer. Received: 9.5; try 0."),
    ('"train.seed": between(0, 9, step=0)', "`space.train.seed step` must be above 0. Received: 0; "
     "try 2."),
    ('"optimizer.momentum": between(0, 1)', "`space.optimizer.momentum` must be below 1. Received: "
     "1.0; try 0."),
    ('"optimizer.name": choice("adam", "sdg")', "`space.optimizer.name` must be one of sgd, adam, "
     'adamw, rmsprop, adagrad. Received: "sdg"; did you mean sgd?'),
    ('"model.hidden_units": choice(64, 128)', "`space.model.hidden_units` must be integers, as in "
     "128,64, or () for none. Received: 64; try 128."),
    ('"train.seed": between(0, 9, log="yes")', "`space.train.seed` has `log` as true or false. "
     'Received: "yes"; try true.'),
    ('"optimizer.learning_rat": choice(1, 2)', "`space.optimizer.learning_rat` is nothing that a sweep "
     "can search: a field of the config, or one of --workers, --ps, --devices_per_worker, --strategy, "
     '--transport. Received: {"choices": [1, 2]}; did you mean `space.optimizer.learning_rate`?'),
    ('"--worker": choice(1, 2)', "`space.--worker` is nothing that a sweep can search: a field of the "
     "config, or one of --workers, --ps, --devices_per_worker, --strategy, --transport. Received: "
     '{"choices": [1, 2]}; did you mean `space.workers`?'),
    ('"name": choice("a", "b")', "`space.name` is nothing that a sweep can search: a field of the "
     "config, or one of --workers, --ps, --devices_per_worker, --strategy, --transport. Received: "
     '{"choices": ["a", "b"]}; did you mean `space.optimizer.name`?'),
    ('"--ps": choice(0, -1)', "`space.--ps` must be at least 0. Received: -1; try 0."),
    ('"train.seed": between(0, 9, when={"optimizer.name": "sgd"})', "`space.train.seed` must name in "
     '`when` a choice that stands before it. Received: "optimizer.name"; take one of those you '
     "add there."),
    (MOMENTUM + '"train.seed": between(0, 9, when={"optimizer.momentum": 0})', "`space.train.seed` "
     'must name in `when` a choice that stands before it. Received: "optimizer.momentum"; take one of '
     "optimizer.name."),
    (MOMENTUM + '"train.seed": between(0, 9, when={"optimizer.name": "adagrad"})', "`space.train.seed` "
     'must name in `when` choices that `space.optimizer.name` has. Received: "adagrad"; take one of '
     '["adam", "sgd", "rmsprop"].'),
    (MOMENTUM + '"train.seed": between(0, 9, when={"optimizer.name": ()})', "`space.train.seed` must "
     'name values in `when`. Received: {"low": 0, "high": 9, "when": {"optimizer.name": []}}; name '
     "some of `optimizer.name`."),
    (MOMENTUM + '"data.shuffle": choice(True, False), "train.seed": between(0, 9, '
     'when={"optimizer.name": "sgd", "data.shuffle": True})', "`space.train.seed` may depend on one "
     'other. Received: ["optimizer.name", "data.shuffle"]; name one in `when`; it may depend on more.'),
]  # fmt: skip


@pytest.mark.parametrize("lines, expected", WRITTEN)
def test_a_dimension_that_is_badly_written_is_refused(tmp_path, lines, expected):
    assert refused(space_of(tmp_path, lines)) == expected


def test_a_value_that_needs_another_dimension_passes_and_one_that_none_helps_does_not(tmp_path):
    lines = '"optimizer.name": choice("adam", "sgd"), "optimizer.momentum": choice(0.0, 0.9)'
    space_check.check(space_of(tmp_path, lines), config_load.resolve("digits_dense"))
    lines = '"optimizer.name": choice("adam", "adamw"), "optimizer.momentum": choice(0.0, 0.9)'
    assert refused(space_of(tmp_path, lines)).startswith(
        "`space.optimizer.momentum` has 0.9, for which "
    )


def test_a_value_that_the_recipe_itself_forbids_is_refused(tmp_path):
    space = space_of(tmp_path, '"optimizer.name": choice("adam", "sgd")')
    message = refused(space, optimizer__name="sgd", optimizer__momentum="0.9")
    assert message.startswith(
        '`space.optimizer.name` has "adam", for which `optimizer.momentum` must be 0'
    )


def test_steps_that_do_not_divide_the_batch_are_told_by_the_rule_itself(tmp_path):
    space = space_of(tmp_path, '"data.global_batch_size": between(30, 64)')
    assert refused(space, train__reduction_blocks="16") == (
        "`space.data.global_batch_size` has 30, for which `train.reduction_blocks` must divide the "
        "global batch evenly. Received: 16 for `data.global_batch_size` 30; try 2."
    )


def test_a_config_without_a_space_says_how_to_give_one(tmp_path):
    expected = (
        '`--space` is missing, and "{}" has no `get_space()`. Received: nothing to search; write one, '
        "or try --space.optimizer.learning_rate=1e-4..1e-1:log."
    )
    assert unloadable("digits_dense", "", {}) == expected.format("digits_dense")
    path = tmp_path / "config.json"
    path.write_text(config_lib.to_json(config_load.resolve("digits_sweep")))
    assert unloadable(str(path), "", {}) == expected.format(path)


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("space.json", "[1]", "`--space` must be a JSON object. Received: [1]; write "
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
def test_a_file_that_is_no_space_is_refused(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text)
    assert unloadable("digits_dense", str(path), {}).startswith(expected.replace("PATH", str(path)))


def test_a_space_that_is_not_there_is_called_by_its_flag(tmp_path):
    assert unloadable("digits_dense", "digit_sweep", {}).startswith(
        "`--space` must be a recipe's name, or the path of a recipe or a JSON file. Received: "
        '"digit_sweep"; did you mean digits_sweep?'
    )
    path = tmp_path / "none.json"
    assert unloadable("digits_dense", str(path), {}) == (
        f'`--space` must be a file that can be read. Received: "{path}", but No such file or '
        "directory; correct the path, or use a recipe's name, e.g. --space=digits_sweep."
    )


def test_every_flag_of_a_space_is_a_flag_of_launch_or_train():
    assert set(FLAGS) <= set(searchable())


def test_keras_tuner_is_given_real_numbers_and_integers_as_they_are(tmp_path):
    space = space_of(
        tmp_path,
        '"optimizer.learning_rate": between(1, 4), "train.seed": between(1, 1000, log=True)',
    )
    rate, seed = space.hyperparameters().space
    assert (type(rate).__name__, rate.prob_to_value(0.5)) == ("Float", 2.5)
    assert (type(seed).__name__, seed.prob_to_value(0.5)) == ("Int", int(math.sqrt(1001)))
