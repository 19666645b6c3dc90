"""Is a hint about another name right, and does it work when it is followed?"""

import re

import pytest

from trainer.cli import hints, synonyms
from trainer.cli import parser as cli_parser
from trainer.cli.options import VERBS
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, fields
from trainer.tune.search.record import Objective

# A value for every flag that a hint can name.
VALUES = {field.name: field.shown(field.default) for schema in VERBS.values()
          for field in fields(schema, "--")}  # fmt: skip
VALUES |= {f"--config.{field.name}": field.shown(field.default) for field in config_lib.fields()}
VALUES |= {"--cluster": "worker=a:1,b:1", "--task": "worker:0"}
VALUES["--workers"] = "2"  # Of launch and of plan.


def message(*argv):
    with pytest.raises(ConfigError) as caught:
        cli_parser.parse(argv)
    return str(caught.value)


def hint(*argv):
    return message(*argv).partition("; ")[2]


def followed(verb, text):
    """The command line that does what a hint says."""
    if text.startswith("leave it out"):
        return [verb]
    flag, where, owner = re.fullmatch(
        r"(?:did you mean|it is a flag of `\w+`: put) `?(--[\w.]+|it)`?( after `--`| of `(\w+)`)?[?.]",
        text,
    ).groups()
    argv = [owner or verb, *(["--"] if where and not owner else []), f"{flag}={VALUES[flag]}"]
    needs = {"evaluate": ["--workdir=w"], "export": ["--workdir=w"]}
    needs["predict"] = ["--workdir=w", "one.npy"]
    return [*argv, *needs.get(argv[0], ())]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", synonyms.FLAG_SYNONYMS)
def test_the_hint_for_a_flag_of_another_program_works_when_it_is_followed(name, verb):
    if name in hints.flag_names(VERBS[verb]):
        return
    text = hint(verb, f"--{name}=3")
    if not text.startswith("it is a flag of"):  # That one is tested in parser_test.py.
        cli_parser.parse(followed(verb, text))


EXPECTED = {
    "--model_dir": "--workdir", "--job-dir": "--workdir", "--job_dir": "--workdir",
    "--output_dir": "--workdir", "--log_dir": "--workdir", "--logdir": "--workdir",
    "--job_name": "--task", "--task_index": "--task", "--task_type": "--task",
    "--worker_hosts": "--cluster", "--ps_hosts": "--cluster",
    "--num_gpus": "--devices", "--gpus": "--devices",
    "--lr": "--config.optimizer.learning_rate",
    "--learning_rate": "--config.optimizer.learning_rate",
    "--batch_size": "--config.data.global_batch_size",
    "--epochs": "--config.train.epochs", "--num_epochs": "--config.train.epochs",
    "--max_epochs": "--config.train.epochs",
    "--steps": "--config.train.steps", "--train_steps": "--config.train.steps",
    "--max_steps": "--config.train.steps", "--steps_per_epoch": "--config.train.steps",
    "--seed": "--config.train.seed", "--optimizer": "--config.optimizer.name",
    "--dataset": "--config.data.name",
}  # fmt: skip


@pytest.mark.parametrize("typed, meant", EXPECTED.items())
def test_a_flag_of_another_program_is_translated_for_train(typed, meant):
    assert hint(f"{typed}=3") == f"did you mean `{meant}`?"


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--num_workers=2"], "did you mean `--workers` of `launch`?"),
        (["--nproc_per_node=2"], "did you mean `--workers` of `launch`?"),
        (["--nnodes=2"], "did you mean `--workers` of `launch`?"),
        (["launch", "--num_workers=2"], "did you mean `--workers`?"),
        (["launch", "--num_gpus=2"], "did you mean `--devices_per_worker`?"),
        (["launch", "--lr=0.1"], "did you mean `--config.optimizer.learning_rate` after `--`?"),
        (["launch", "--worker_hosts=a"],
         "leave it out: `launch` creates the clusters that it trains on."),
        (["tune", "--num_workers=2"], "did you mean `--workers_per_trial`?"),
        (["tune", "--ps=2"], "did you mean `--ps_per_trial`?"),
        (["tune", "--epochs=2"], "did you mean `--config.train.epochs`?"),
        (["tune", "--max-epochs=2"], "did you mean `--max_epochs`?"),
        (["evaluate", "--model_dir=x"], "did you mean `--workdir`?"),
        (["evaluate", "--step=3"], "did you mean `--checkpoint`?"),
        (["evaluate", "--batch_size=3"], "did you mean `--config.data.global_batch_size` of `train`?"),
        (["--nochief"], "it is a flag of `launch`."),
        (["tune", "--space.optimizer.learning_rat=1..2"],
         "did you mean `--space.optimizer.learning_rate`?"),
    ],
)  # fmt: skip
def test_the_hint_depends_on_the_verb(argv, expected):
    assert hint(*argv) == expected


@pytest.mark.parametrize("flag", ["--foo", "--zzz", "--bar", "--run", "--noisy", "--x", "--fo"])
@pytest.mark.parametrize("verb", VERBS)
def test_there_is_no_hint_where_no_flag_is_close(verb, flag):
    assert hint(verb, f"{flag}=3") == "`--help` lists all flags."


@pytest.mark.parametrize(
    "value, meant",
    [
        ("ps", "parameter_server"),
        ("ParameterServerStrategy", "parameter_server"),
        ("MultiWorkerMirroredStrategy", "multi_worker"),
        ("tf.distribute.MultiWorkerMirroredStrategy", "multi_worker"),
        ("multiworker", "multi_worker"),
        ("multi-worker", "multi_worker"),
        ("ddp", "multi_worker"),
        ("MirroredStrategy", "mirrored"),
        ("TPUStrategy", "tpu"),
        ("TPU", "tpu"),
    ],
)
def test_a_strategy_by_its_name_elsewhere_is_translated(value, meant):
    assert hint(f"--strategy={value}") == f"did you mean {meant}?"
    assert cli_parser.parse([f"--strategy={meant}"]).strategy == meant


@pytest.mark.parametrize("value", ["ps", "ddp", "fsdp"])
def test_evaluate_does_not_suggest_a_strategy_that_it_does_not_have(value):
    assert hint("evaluate", "--workdir=w", f"--strategy={value}") == "try auto."


def test_every_strategy_that_a_synonym_stands_for_exists():
    choices = {field.name: field.choices for field in fields(VERBS["train"], "--")}["--strategy"]
    assert set(synonyms.STRATEGY_SYNONYMS.values()) <= {*choices}


@pytest.mark.parametrize("name, meant", synonyms.OBJECTIVE_SYNONYMS.items())
def test_keras_s_name_of_an_objective_is_answered_with_the_name_here(name, meant):
    with pytest.raises(ConfigError) as caught:
        Objective.named(name)
    assert str(caught.value).endswith(f"; did you mean {meant}?")
    assert Objective.named(meant).name == meant


def test_every_flag_that_a_synonym_stands_for_exists():
    known = {name for schema in VERBS.values() for name in hints.flag_names(schema)}
    assert {name for names in synonyms.FLAG_SYNONYMS.values() for name in names} <= known
