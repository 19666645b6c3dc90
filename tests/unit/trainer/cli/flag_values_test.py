"""Do absl's habits work on each verb, and do its errors become one line with a fix?"""

import dataclasses

import pytest

from trainer.cli import flag_values, option_groups, options
from trainer.cli import parser as cli_parser
from trainer.cli.options import LaunchOptions, TrainOptions, TuneOptions
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, fields


def message(*argv):
    with pytest.raises(ConfigError) as caught:
        cli_parser.parse(argv)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_one_dash_is_the_same_as_two():
    given = ["-workdir=w", "-devices", "2", "-config.train.seed=3"]
    expected = TrainOptions(workdir="w", devices=2, overrides={"train.seed": "3"})
    assert cli_parser.parse(given) == expected


@pytest.mark.parametrize(
    "flag, value",
    [("--chief", True), ("--nochief", False), ("--chief=true", True), ("--chief=False", False),
     ("--chief=1", True), ("--chief=f", False)],
)  # fmt: skip
def test_a_boolean_flag_is_read_as_absl_reads_it(flag, value):
    assert cli_parser.parse(["launch", flag]).chief is value


@pytest.mark.parametrize(
    "flag, text",
    [("--config.data.shuffle", "true"), ("--noconfig.data.shuffle", "false"),
     ("--config.data.shuffle=FALSE", "FALSE")],
)  # fmt: skip
def test_a_boolean_field_of_the_config_is_a_boolean_flag(flag, text):
    assert cli_parser.parse([flag]).overrides == {"data.shuffle": text}


def test_the_last_of_several_values_counts():
    assert cli_parser.parse(["--devices=1", "--devices", "3"]).devices == 3
    assert not cli_parser.parse(["launch", "--chief", "--nochief"]).chief


def test_a_prefix_of_a_name_is_no_abbreviation():
    assert message("--startup=3") == (
        '`train` has no such flag. Received: "--startup"; did you mean `--startup_timeout_s`?'
    )


def test_undefok_lets_an_unknown_flag_pass():
    assert cli_parser.parse(["--undefok=new,newer", "--new=3", "--newer"]) == TrainOptions()


def test_the_flags_of_a_file_are_inserted_where_it_is_named(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("--devices=2\n")
    outer.write_text(
        f"# A comment.\n\n--workdir=from file\n--flagfile={inner}\n--config.train.seed=1\n"
    )
    given = cli_parser.parse(["--workdir=before", f"--flagfile={outer}", "--config.train.seed=2"])
    expected = TrainOptions(workdir="from file", devices=2, overrides={"train.seed": "2"})
    assert given == expected
    assert cli_parser.parse(["--flagfile", str(outer), "--config.train.seed=2"]) == expected


def test_a_flag_file_may_have_the_flags_of_launch_and_of_train(tmp_path):
    path = tmp_path / "launch.flags"
    path.write_text("--workers=3\n--\n--config=mnist_dense\n")
    expected = LaunchOptions(workers=3, trainer_args=("--config=mnist_dense",))
    assert cli_parser.parse(["launch", f"--flagfile={path}"]) == expected


def test_launched_tasks_get_the_lines_of_a_flag_file_and_not_its_name(tmp_path):
    path = tmp_path / "train.flags"
    path.write_text("--workdir=w\n-devices=2\n--noconfig.data.shuffle\n")
    given = cli_parser.parse(["launch", "--", f"--flagfile={path}"])
    assert given.trainer_args == ("--workdir=w", "--devices=2", "--config.data.shuffle=false")


@pytest.mark.parametrize("verb", ["launch", "tune"])
def test_a_flag_file_after_the_separator_may_begin_with_no_verb_but_train(verb, tmp_path):
    path = tmp_path / "train.flags"
    path.write_text("evaluate\n--workdir=w\n")
    assert message(verb, "--", f"--flagfile={path}") == (
        f'`{verb}` only trains. Received: "evaluate" after `--`; give flags of `train` there.'
    )
    path.write_text("train\n--devices=2\n")
    assert cli_parser.parse([verb, "--", f"--flagfile={path}"]).trainer_args == ("--devices=2",)


def test_a_trial_may_not_get_its_config_from_a_flag_file_either(tmp_path):
    path = tmp_path / "train.flags"
    path.write_text("-config=mnist_dense\n")
    assert message("tune", "--", f"--flagfile={path}") == (
        '`tune` gives each trial its own config and workdir. Received: "--config" after `--`; put it '
        "before the `--`."
    )


def test_a_flag_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path):
    start = "`--flagfile` must be a text file with one --FLAG=VALUE on each line. Received: "
    missing, binary = tmp_path / "none", tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\xff")
    reasons = {missing: "No such file or directory", tmp_path: "Is a directory"}
    for path, reason in reasons.items():
        assert message(f"--flagfile={path}") == f'{start}"{path}", but {reason}; correct the path.'
    expected = f'{start}"--flagfile={binary}", but it is not UTF-8 text; correct the path.'
    assert message(f"--flagfile={binary}") == expected
    assert message("--flagfile") == (
        "`--flagfile` needs a value. Received: none; write --flagfile=VALUE."
    )


def test_a_line_of_a_flag_file_has_one_flag(tmp_path):
    path = tmp_path / "my.flags"
    path.write_text("--workdir w\n")
    assert message(f"--flagfile={path}") == (
        '`train` has no such flag. Received: "--workdir w"; a flag file has one --FLAG=VALUE on each '
        "line."
    )


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["launch", "--nochief=3"], '`--nochief` takes no value. Received: "3"; write --nochief alone, '
         "or --chief=VALUE."),
        (["launch", "--chief", "false"], 'flags begin with `--`. Received: "false"; write the value of '
         "a boolean flag after =, e.g. --chief=false."),
        (["--config.train.seed"], "`--config.train.seed` needs a value. Received: none; write "
         "--config.train.seed=VALUE."),
        (["--config.data.dir", "--devices=3"], '`--config.data.dir` needs a value. Received: '
         '"--devices=3"; write --config.data.dir=VALUE.'),
        (["--undefok"], "`--undefok` needs a value. Received: none; write --undefok=VALUE."),
        (["--devices=2", "word", "--workdir=w"], 'flags begin with `--`. Received: "word"; `--help` '
         "explains them."),
        (["-"], 'flags begin with `--`. Received: "-"; `--help` explains them.'),
        (["--devices=2", "--devices=many"], '`--devices` must be an integer. Received: "many"; try 0.'),
    ],
)  # fmt: skip
def test_an_error_of_absl_becomes_one_line_with_a_fix(argv, expected):
    assert message(*argv) == expected


def test_dimensions_are_kept_as_typed_for_every_field_and_searchable_flag():
    argv = ["--space.data.shuffle", "true|false", "--space.workers=1..2", "--space.train.seed=1|2"]
    assert flag_values.read(argv, TuneOptions).dimensions == {
        "data.shuffle": "true|false",
        "workers": "1..2",
        "train.seed": "1|2",
    }


@pytest.mark.parametrize("schema", options.VERBS.values())
def test_every_flag_of_a_verb_and_every_field_of_the_config_can_be_given(schema):
    def shown(field):
        text = field.shown(field.default)
        return "" if text == '""' else text

    known = [field for field in fields(schema, "--") if field.name != "--vary"]  # Each adds one.
    argv = [f"{field.name}={shown(field)}" for field in known]
    given = flag_values.read(argv, schema)
    assert given.options == {field.name: field.default for field in known}
    assert given.args == tuple(argv)
    if issubclass(schema, option_groups.OverrideOptions):
        given = flag_values.read(
            [f"--config.{field.name}=x" for field in config_lib.fields()], schema
        )
        assert given.overrides == {field.name: "x" for field in config_lib.fields()}


def test_no_flag_is_documented_twice_in_the_same_words():
    declared = [
        member.metadata["doc"]
        for module in (options, option_groups)
        for schema in vars(module).values()
        if dataclasses.is_dataclass(schema) and schema.__module__ == module.__name__
        for member in dataclasses.fields(schema)
        if member.metadata and member.name in schema.__annotations__
    ]
    assert len(declared) == len(set(declared)) > 30
