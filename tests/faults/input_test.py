"""Can any input end in a traceback?

Hundreds of TF_CONFIGs, recipes, config.json files and command lines, each made from a valid one by random
changes. All go through what `python -m trainer` does before it imports TensorFlow, and some dozens of the
refused ones through the program itself.
"""

import json
import os
import pathlib
import re
import shlex

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from strategies import choose
from strategies.cluster import tf_config as tf_config_lib
from strategies.errors import InputError
from tests.cluster import cluster
from tests.faults import conftest
from trainer.cli import options
from trainer.cli import parser as cli_parser
from trainer.config import load as config_load
from trainer.config import recipes
from trainer.config import schema as config_lib
from trainer.launch import cluster_plan
from trainer.storage.workdir import Workdir
from trainer.training import batch_split

LONG = 10  # Factor on the number of cases.
# Replacements for a word: of other types, out of range, from other fields, broken, not ASCII.
WORDS = [
    *("", " ", "0", "-1", "1", "2", "7", "64", "3.5", "1e999", "-0.0", "2147483648", "9" * 5000),
    *("true", "True", "false", "null", "None", "NaN", "Infinity", "nan", "()", "[]", "{}", "[[[["),
    *(
        '"',
        "'",
        "\\",
        '"""',
        "\\ud800",
        "\\u0000",
        "\n",
        "\r\n",
        "\t",
        "é",
        "\u202e",
        "\ufeff",
        "💥",
    ),
    *("=", "==", ":", ",", ".", "--", "-", "/", "//", "..", "~", "*", "%s", "{}", "$HOME", "#"),
    *("worker", "chief", "ps", "evaluator", "master", "Worker", "task", "cluster", "type", "index"),
    *("localhost:1", "host:0", "host:65536", "[::1]:2222", "http://host:1", ":2222", "host0:2222"),
    *("adam", "sgd", "digits", "mnist", "async", "gradients", "relu", "stream", "get_config"),
    *("mirrored", "multi_worker", "parameter_server", "tpu", "local", "direct", "auto", "import"),
    *(field.name for field in config_lib.fields()),
]
TF_CONFIGS = [
    {"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 1}},
    {"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}},
    {"cluster": {"worker": ["10.0.0.1:80"]}, "task": {"type": "evaluator", "index": 0}},
    {
        "cluster": {"chief": ["a:1"], "worker": ["b:1", "[::1]:2"], "ps": ["c:1", "d:1"]},
        "task": {"type": "ps", "index": 1},
        "rpc_layer": "grpc",
    },
]
COMMANDS = [
    "train --config=digits_dense --workdir=w --strategy=auto --devices=2",
    "--config mnist_dense --config.train.steps 5 --config.model.hidden_units=128,64",
    "check --transport=direct --startup_timeout_s=5 --peer_timeout_s=1e3 --tpu=local",
    "evaluate --workdir=w --checkpoint=100 --devices=1",
    "launch --workers=2 --ps=1 --evaluator --grace_s=5 -- --config=digits_dense --workdir=w",
    "launch --chief --workers 1 --devices_per_worker=2 -- train --config.sync.mode=gradients",
    "--config.optimizer.name=sgd --config.optimizer.momentum=0.9 --strategy=mirrored",
    "help launch",
    "-devices=2 --noconfig.data.shuffle --undefok=new --new=3 --config.train.keep_best",
    "launch --nochief --evaluator -- -devices 1 --config.data.shuffle=f",
]


@st.composite
def changed(draw, originals, most=4):
    """One of the texts after some changes: words removed, doubled, replaced or inserted."""
    words = re.findall(r"\w+|\s+|[^\w\s]", draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, most))):
        place = draw(st.integers(0, len(words)))
        other = draw(st.sampled_from(WORDS) | st.sampled_from(words or [""]) | st.text(max_size=5))
        length = draw(st.sampled_from([0, 1, 1, 1, 3]))
        words[place : place + length] = draw(st.sampled_from([[], [other], [other, other]]))
    return "".join(words)


@pytest.fixture
def outcomes(request):
    """`outcomes(count, cases, examine)`: how many cases were accepted, and how many refused.

    `examine` is called with each of `count` cases; it may raise an InputError of one line, or exit after
    `--help`.
    """

    def tried(count, cases, examine, phases=tuple(Phase)):
        ends = {"accepted": 0, "refused": 0}

        @hypothesis.seed(conftest.seed(request.config))
        @settings(
            max_examples=count * (LONG if conftest.is_long(request.config) else 1),
            database=None,  # Only the seed decides.
            phases=phases,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @hypothesis.given(cases)
        def each_ends_well(case):
            ends["accepted" if _is_accepted(examine, case) else "refused"] += 1

        each_ends_well()
        return ends

    return tried


def _is_accepted(examine, case) -> bool:
    try:
        examine(case)
    except InputError as error:
        message = " ".join(str(error).split())  # As `python -m trainer` shows it.
        assert message.isprintable() and 20 < len(message) < 1000
        return False
    except SystemExit as leaving:
        return not leaving.code
    return True


def _parts(command: options.TrainOptions, text: str):
    """What a task of `train` reads first: its cluster, config and strategy, which must agree."""
    spec = tf_config_lib.parse(text)
    config = config_load.resolve(command.config, command.overrides)
    choice = choose.choose(spec, command.strategy, command.tpu)
    choice = batch_split.with_agreement(config, choice)
    return spec, config, choice


def _start(argv, tf_config=""):
    """What `python -m trainer` does with a command line before it needs TensorFlow."""
    command = cli_parser.parse(argv)
    if command.verb == "evaluate":
        Workdir(command.workdir).read_config()
    elif command.verb == "launch":
        cluster_plan.plan(command, range(command.workers + command.ps + 1))
        _start(["train", *command.trainer_args])
    else:
        spec, config, choice = _parts(command, tf_config)
        devices = ["CPU:0"] * max(1, command.devices)
        choice = choose.with_transport(choice, command.transport, devices)
        batch_split.check_batch(config, batch_split.Replicas.of_choice(choice, spec, devices))
        if command.workdir:
            Workdir(command.workdir).examine(config)


def _both(ends) -> bool:
    """Whether both outcomes were frequent enough to mean something."""
    return min(ends.values()) > sum(ends.values()) / 50


def test_any_tf_config_is_understood_or_refused(outcomes):
    cases = st.tuples(
        changed([json.dumps(one, indent=indent) for one in TF_CONFIGS for indent in (None, 1)]),
        st.lists(
            st.sampled_from(
                [f"--strategy={one}" for one in choose.STRATEGIES]
                + [f"--transport={one}" for one in choose.TRANSPORTS]
                + ["--tpu=local", "--devices=3", "--config.sync.mode=async"]
            ),
            max_size=2,
        ),
    )
    assert _both(outcomes(300, cases, lambda case: _start(case[1], case[0])))


def test_any_recipe_is_understood_or_refused(outcomes, tmp_path):
    path = tmp_path / "recipe.py"
    texts = [(recipes.FOLDER / f"{name}.py").read_text() for name in recipes.names()]

    def examine(text):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        _start([f"--config={path}"])

    assert _both(outcomes(200, changed(texts, most=8), examine))


def test_any_config_json_is_understood_or_refused(outcomes, tmp_path):
    path = tmp_path / "config.json"
    texts = [config_lib.to_json(config_load.resolve(name)) for name in recipes.names()]

    def examine(text):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        _start([f"--config={path}"])

    assert _both(outcomes(150, changed(texts), examine))


def test_any_workdir_is_understood_or_refused(outcomes, tmp_path):
    """The folder of another run, with a changed config.json."""
    texts = [config_lib.to_json(config_load.resolve("digits_dense"))]

    def examine(text):
        (tmp_path / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        _start([f"--workdir={tmp_path}"])

    assert _both(outcomes(100, changed(texts, most=2), examine))


def test_any_command_line_is_understood_or_refused(outcomes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cases = changed(COMMANDS).map(str.split)
    assert _both(outcomes(250, cases, _start))


def _is_refused_at_once(argv, tf_config) -> bool:
    """Whether the program refuses this without TensorFlow. `check` prints more than one line."""
    try:
        command = cli_parser.parse(argv)
        if command.verb == "train" and isinstance(command, options.TrainOptions):
            _parts(command, tf_config)
    except InputError:
        return True
    except SystemExit:
        pass
    return False


@st.composite
def mistakes(draw):
    """A command line and a TF_CONFIG that a shell could pass, of which at least one is invalid."""
    argv = shlex.split(draw(st.sampled_from(COMMANDS)))
    tf_config = json.dumps(draw(st.sampled_from(TF_CONFIGS)))
    if draw(st.booleans()):
        argv = draw(changed(COMMANDS)).split()
    else:
        tf_config = draw(changed([tf_config]))
    hypothesis.assume("\0" not in "".join([*argv, tf_config]))
    hypothesis.assume(_is_refused_at_once(argv, tf_config))
    return argv, tf_config


@pytest.mark.cold
def test_the_program_refuses_in_one_line(outcomes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def examine(case):
        argv, tf_config = case
        environ = {"TF_CONFIG": os.fsencode(tf_config), "PYTHONPATH": str(cluster.ROOT)}
        with cluster.Process([*cluster.TRAINER, *argv], environ) as process:
            assert process.wait() == 2, process.said
            assert process.screen == [f"muster: error: {process.error}"]

    outcomes(30, mistakes(), examine, [Phase.generate])  # Shrinking a failure would take minutes.
    assert not [*pathlib.Path().iterdir()]
