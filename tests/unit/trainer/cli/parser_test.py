"""Does each command line give the right command, or the exact message?"""

import re
import resource
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import __version__
from trainer.cli import options
from trainer.cli import parser as cli_parser
from trainer.cli.options import (
    CheckOptions,
    CompareOptions,
    CrossValidateOptions,
    EvaluateOptions,
    LaunchOptions,
    TrainOptions,
    TuneOptions,
)
from trainer.config import recipes
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, fields


def message(*argv):
    with pytest.raises(ConfigError) as caught:
        cli_parser.parse(argv)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def answer(capsys, *argv):
    with pytest.raises(SystemExit) as caught:
        cli_parser.parse(argv)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_no_arguments_train_the_default_recipe():
    assert cli_parser.parse([]) == TrainOptions(config="digits_dense", workdir="", strategy="auto")


def test_the_verb_train_may_be_left_out():
    assert cli_parser.parse(["train", "--devices=2"]) == cli_parser.parse(["--devices=2"])


@pytest.mark.parametrize(
    "argv",
    [
        ["--config=mnist_dense", "--workdir=w", "--peer_timeout_s=5", "--config.data.dir=a b"],
        ["--config", "mnist_dense", "--workdir", "w", "--peer_timeout_s", "5",
         "--config.data.dir", "a b"],
    ],
)  # fmt: skip
def test_a_value_follows_an_equals_sign_or_a_space(argv):
    expected = TrainOptions(
        config="mnist_dense", workdir="w", peer_timeout_s=5.0, overrides={"data.dir": "a b"}
    )
    assert cli_parser.parse(argv) == expected
    assert cli_parser.parse(["check", *argv]) == CheckOptions(**vars(expected))


def test_overrides_arrive_as_they_were_typed_and_the_last_one_counts():
    argv = ["--config.train.seed=1", "--config.data.dir=a=b", "--config.train.seed", "-2"]
    assert cli_parser.parse(argv).overrides == {"train.seed": "-2", "data.dir": "a=b"}


def test_evaluate_takes_a_run_and_a_step():
    argv = ["evaluate", "--workdir=w", "--checkpoint=300"]
    assert cli_parser.parse(argv) == EvaluateOptions(workdir="w", checkpoint=300)


def test_report_takes_runs_and_a_file():
    argv = ["report", "runs/a", "--output=both.html", "runs/b"]
    assert cli_parser.parse(argv) == options.ReportOptions("both.html", ("runs/a", "runs/b"))
    assert message("report").startswith("`report` needs the folders of runs.")


@pytest.mark.parametrize("verb", ["train", "check"])
@pytest.mark.parametrize("typed", ["5", "10:10", "9:3", "-1:4", "a:b", "1:2:3", "1:", f"1:{2**31}"])
def test_steps_to_trace_are_two_numbers_in_order(verb, typed):
    assert message(verb, f"--profile={typed}") == (
        "`--profile` must be two numbers of steps, the first below the second. Received: "
        f'"{typed}"; try --profile=100:110.'
    )
    assert cli_parser.parse([verb, "--profile=100:110"]).profile_steps == range(100, 110)


def test_cross_validate_takes_folds_fields_and_the_flags_of_its_runs():
    argv = ["cross_validate", "--folds=3", "--stratified", "--config.train.seed=1"]
    assert cli_parser.parse([*argv, "--", "--devices=2"]) == CrossValidateOptions(
        folds=3, stratified=True, overrides={"train.seed": "1"}, trainer_args=("--devices=2",)
    )


def test_compare_keeps_every_field_that_is_varied():
    argv = ["compare", "--vary", "sync.mode=gradients,parameters:20", "--vary=train.seed=1,2"]
    command = cli_parser.parse(argv)
    assert isinstance(command, CompareOptions)
    assert command.vary == ("sync.mode=gradients,parameters:20", "train.seed=1,2")
    assert cli_parser.parse(["compare"]) == CompareOptions()


def test_launch_keeps_the_flags_of_train_for_its_tasks():
    trainer_args = ("--config=mnist_dense", "--config.train.steps", "5")
    as_one_word_each = ("--config=mnist_dense", "--config.train.steps=5")
    argv = ["launch", "--workers=3", "--ps", "1", "--chief", "--evaluator=false", "--grace_s=2"]
    assert cli_parser.parse([*argv, "--", *trainer_args]) == LaunchOptions(
        workers=3, ps=1, chief=True, evaluator=False, grace_s=2.0, trainer_args=as_one_word_each
    )
    after_train = cli_parser.parse(["launch", "--", "train", *trainer_args])
    assert after_train.trainer_args == as_one_word_each
    assert cli_parser.parse(["launch"]) == cli_parser.parse(["launch", "--"]) == LaunchOptions()


def test_each_command_knows_its_verb():
    for verb in ("train", "check", "launch"):
        assert cli_parser.parse([verb]).verb == verb


VERBS = (
    "the verbs are train, evaluate, export, predict, report, launch, tune, cross_validate, compare, "
    "check, data, plan. Received: "
)
MISTAKES = [
    (["trian"], VERBS + '"trian"; did you mean '
     "`train`?"),
    (["predict", "runs/x"], '`predict` needs a run or an export, and files. Received: "runs/x"; write '
     "predict WORKDIR FILE..."),
    (["export"], '`--workdir` must name the folder of a run. Received: ""; try --workdir=runs/NAME.'),
    (["zzz"], VERBS + '"zzz"; `--help` explains '
     "them."),
    (["mnist_dense"], VERBS + '"mnist_dense"; did '
     "you mean --config=mnist_dense?"),
    (["train", "my.py"], 'flags begin with `--`. Received: "my.py"; did you mean --config=my.py?'),
    (["--wokdir=w"], '`train` has no such flag. Received: "--wokdir"; did you mean `--workdir`?'),
    (["-confog=w"], '`train` has no such flag. Received: "-confog"; did you mean `--config`?'),
    (["--startup-timeout-s=3"], '`train` has no such flag. Received: "--startup-timeout-s"; did '
     "you mean `--startup_timeout_s`?"),
    (["--global_batch_size=3"], '`train` has no such flag. Received: "--global_batch_size"; did '
     "you mean `--config.data.global_batch_size`?"),
    (["--epochs", "3"], '`train` has no such flag. Received: "--epochs"; did you mean '
     "`--config.train.epochs`?"),
    (["--zzzz"], '`train` has no such flag. Received: "--zzzz"; `--help` lists all flags.'),
    (["--workers=2"], '`train` has no such flag. Received: "--workers"; it is a flag of `launch`.'),
    (["evaluate", "--config=x"], '`evaluate` has no such flag. Received: "--config"; it is a flag '
     "of `train`."),
    (["evaluate", "--config.data.dir=x"], '`evaluate` has no such flag. Received: '
     '"--config.data.dir"; it is a flag of `train`.'),
    (["launch", "--config=x"], '`launch` has no such flag. Received: "--config"; it is a flag of '
     "`train`: put it after `--`."),
    (["launch", "--checkpoint=3"], '`launch` has no such flag. Received: "--checkpoint"; it is a '
     "flag of `evaluate`."),
    (["a\nb.py"], VERBS + '"a\\nb.py"; `--help` '
     "explains them."),
    (["launch", "--", "--wokdir=w"], '`train` has no such flag. Received: "--wokdir"; did you mean '
     "`--workdir`?"),
    (["launch", "--", "check"], '`launch` only trains. Received: "check" after `--`; give flags of '
     "`train` there."),
    (["launch", "--", "--cluster=a:1,b:1"], "`launch` creates the clusters that it trains on. Received: "
     '"--cluster=a:1,b:1" after `--`; leave it out.'),
    (["tune", "--", "--ps=1"], '`tune` creates the clusters that it trains on. Received: "--ps=1" after '
     "`--`; leave it out."),
    (["check", "--", "--devices=2"], 'only `launch`, `tune`, `cross_validate` and `compare` take flags '
     'after `--`. Received: "--devices=2" after `check`; remove the `--`.'),
    (["--workdir"], "`--workdir` needs a value. Received: none; write --workdir=VALUE."),
    (["--workdir", "--devices=2"], '`--workdir` needs a value. Received: "--devices=2"; write '
     "--workdir=VALUE."),
    (["--config.train.seed"], "`--config.train.seed` needs a value. Received: none; write "
     "--config.train.seed=VALUE."),
    (["--config.\x1b[31m"], '`\\u001b[31m` is not a config field. Received: "--config.\\u001b[31m"; '
     "`--help=config` lists all fields."),
    (["--config.data.seed=3"], '`data.seed` is not a config field. Received: "3"; did you mean '
     "`train.seed`?"),
    (["--devices=two"], '`--devices` must be an integer. Received: "two"; try 0.'),
    (["--devices=-1"], "`--devices` must be at least 0. Received: -1; try 0."),
    (["--startup_timeout_s=0"], "`--startup_timeout_s` must be above 0. Received: 0.0; try 120."),
    (["--peer_timeout_s=inf"], "`--peer_timeout_s` must be a finite number. Received: Infinity; "
     "try 30."),
    (["--strategy=miror"], "`--strategy` must be one of auto, mirrored, multi_worker, "
     'parameter_server, tpu. Received: "miror"; did you mean mirrored?'),
    (["launch", "--workers=0"], "`--workers` must be at least 1. Received: 0; try 2."),
    (["launch", "--min_workers=3"], "`--min_workers` must be at most --workers=2. Received: 3; lower "
     "it, or start more workers."),
    (["launch", "--min_workers=1", "--ps=2"], "`--min_workers` is for clusters without parameter "
     "servers. Received: 1 with --ps=2; leave it out: with parameter servers the run continues "
     "without a lost worker."),
    (["launch", "--min_workers=1", "--max_restarts=0"], "`--min_workers` needs restarts. Received: 1 "
     "with --max_restarts=0; allow some."),
    (["launch", "--rejoin_after_s=0"], "`--rejoin_after_s` must be above 0. Received: 0.0; try 60."),
    (["launch", "--chief=maybe"], '`--chief` must be true or false. Received: "maybe"; try false.'),
    (["evaluate"], '`--workdir` must name the folder of a run. Received: ""; try '
     "--workdir=runs/NAME."),
]  # fmt: skip


@pytest.mark.parametrize("argv, expected", MISTAKES, ids=[" ".join(argv) for argv, _ in MISTAKES])
def test_a_mistaken_command_line_is_refused_with_a_fix(argv, expected):
    assert message(*argv) == expected


def test_help_shows_every_verb_flag_and_recipe(capsys):
    page = answer(capsys, "--help")
    assert page == answer(capsys, "-h") == answer(capsys, "help")
    for schema in options.VERBS.values():
        assert f"  {schema.verb} " in page
        for field in fields(schema, "--"):
            name = f"--[no]{field.name[2:]}" if field.type is bool else f"{field.name}="
            assert f"  {name}" in page
    for recipe, summary in recipes.summaries().items():
        assert re.search(rf"^  {recipe} +{re.escape(summary.split(',')[0])}", page, re.MULTILINE)


def test_the_help_of_a_verb_shows_its_own_flags_only(capsys):
    page = answer(capsys, "launch", "--help")
    assert page == answer(capsys, "--help=launch")
    assert "--workers=2" in page
    assert "--strategy" not in page
    assert "--strategy" in answer(capsys, "launch", "--", "--help")


@pytest.mark.parametrize("flag", ["--help=config", "--helpfull"])
def test_help_on_the_config_shows_every_field_with_its_default(flag, capsys):
    page = answer(capsys, flag)
    for field in config_lib.fields():
        assert f"  --config.{field.name}={field.shown(field.default)} " in page


@pytest.mark.parametrize("argv", [["--help"], ["--help=config"], ["train", "-h"]])
def test_help_fits_on_a_screen_of_100_columns(argv, capsys):
    assert max(map(len, answer(capsys, *argv).splitlines())) <= 100


def test_the_examples_in_the_help_are_command_lines_that_work(capsys):
    page = answer(capsys, "--help")
    examples = re.findall(r"^  python -m trainer(.*?)(?:  |$)", page, re.MULTILINE)
    assert len(examples) == 11
    for example in examples:
        cli_parser.parse(example.split())


def test_the_version_is_printed(capsys):
    assert answer(capsys, "--version") == answer(capsys, "-version") == f"muster {__version__}\n"


def test_reading_the_command_line_needs_neither_tensorflow_nor_numpy():
    code = (
        "import sys; from trainer.cli import parser; parser.parse(['--config.train.seed=1']); "
        "print({'tensorflow', 'keras', 'numpy', 'sklearn'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_help_answers_well_under_a_second():
    """Half a second, where Python itself starts in 25 ms; a slow machine takes longer for both."""

    def seconds_of(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    help_s, python_s = (
        min(seconds_of(code) for _ in range(3))
        for code in ("from trainer.cli import parser; parser.parse(['--help'])", "pass")
    )
    assert help_s < 20 * python_s


WORDS = st.one_of(
    st.text(),
    st.sampled_from(
        [*options.VERBS, "--", "--config", "--config.", "--workdir=w", "--chief", "-", "="]
    ),
    st.builds("--{}={}".format, st.sampled_from(["devices", "ps", "config.x", "tpu"]), st.text()),
)


@given(st.lists(WORDS, max_size=5))
def test_any_command_line_gives_a_command_or_a_config_error_or_an_answer(argv):
    refusal, exit_code = "", 0
    try:
        cli_parser.parse(argv)
    except ConfigError as error:
        refusal = str(error)
    except SystemExit as leaving:
        exit_code = leaving.code
    assert exit_code == 0
    assert len(refusal.splitlines()) <= 1
    assert len(refusal) < 1000


def test_a_sweep_takes_dimensions_overrides_and_flags_of_its_trials():
    argv = [
        "--tuner=grid",
        "--space.train.seed=1|2",
        "--config.train.epochs=3",
        "--",
        "--devices=2",
    ]
    expected = TuneOptions(
        tuner="grid",
        dimensions={"train.seed": "1|2"},
        overrides={"train.epochs": "3"},
        trainer_args=("--devices=2",),
    )
    assert cli_parser.parse(["tune", *argv]) == expected


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["tune", "--tuner=gird"], "`--tuner` must be one of random, grid, bayesian, hyperband. "
         'Received: "gird"; did you mean grid?'),
        (["tune", "--devices=2"], "`tune` has no such flag. Received: \"--devices\"; it is a flag of "
         "`train`: put it after `--`."),
        (["tune", "--", "--workdir=x"], "`tune` gives each trial its own config and workdir. Received: "
         '"--workdir" after `--`; put it before the `--`.'),
        (["tune", "--", "evaluate"], "`tune` only trains. Received: \"evaluate\" after `--`; give flags "
         "of `train` there."),
        (["train", "--space.train.seed=1"], "`train` has no such flag. Received: "
         '"--space.train.seed"; it is a flag of `tune`.'),
        (["--factor=2"], '`train` has no such flag. Received: "--factor"; it is a flag of `tune`.'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_sweep_is_refused_with_a_fix(argv, expected):
    assert message(*argv) == expected


@pytest.mark.parametrize(
    "argv", [["runs/x", "a.npy", "b.csv"], ["--workdir=runs/x", "a.npy", "b.csv"]]
)
def test_predict_takes_files_with_flags_among_them(argv):
    command = cli_parser.parse(["predict", argv[0], "--show=table", *argv[1:]])
    assert (command.workdir, command.words) == ("runs/x", ("a.npy", "b.csv"))
    assert command.show == "table"


def test_a_flag_of_any_length_is_refused():
    for name in ("9" * 5000, "config." + "9" * 5000):
        with pytest.raises(ConfigError) as caught:
            cli_parser.parse(["train", f"--{name}=1"])
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "argv",
    [
        ["--json", "--quiet"],
        ["launch", "--verbose", "--", "--json"],
        ["tune", "--quiet", "--", "--verbose"],
        ["evaluate", "--workdir=x", "--json", "--verbose"],
    ],
)
def test_only_one_flag_says_what_is_printed(argv):
    with pytest.raises(ConfigError, match="`--json`, `--quiet` and `--verbose` exclude each other"):
        cli_parser.parse(argv)


@pytest.mark.parametrize("verb", ["launch", "tune"])
def test_tasks_and_trials_share_the_screen_of_their_command(verb):
    command = cli_parser.parse([verb, "--", "--quiet", "--devices=2", "--nojson"])
    assert command.quiet and not command.json and command.trainer_args == ("--devices=2",)
