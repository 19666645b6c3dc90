"""Does the program answer at once, and exit with the right code and one line if it cannot continue?"""

import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

_NOT_IMPORTED = ("tensorflow", "keras", "numpy", "tensorflow_datasets", "sklearn")


def _environ(**extra):
    named = {"TF_CONFIG", "TPU_NAME", "TPU_CONFIG", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS"}
    kept = {name: value for name, value in os.environ.items() if name not in named}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


def _run(*argv, cwd, **environ):
    return subprocess.run(
        [sys.executable, "-m", "trainer", *argv], check=False, cwd=cwd, env=_environ(**environ),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def _error(done):
    """The single line on stderr of a run that was refused."""
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("muster: error: ")
    return line.removeprefix("muster: error: ")


@pytest.mark.parametrize(
    "argv, first",
    [
        (["--help"], "muster "),
        (["--version"], "muster "),
        (["--help=config"], ""),
        (["evaluate", "--help"], ""),
        (["launch", "--help"], ""),
    ],
)
def test_help_and_version_are_printed_without_tensorflow_or_numpy(tmp_path, argv, first):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['trainer', *{argv}]\n"
        "try:\n"
        "    runpy.run_module('trainer', run_name='__main__')\n"
        "except SystemExit as left:\n"
        "    roots = {name.partition('.')[0] for name in sys.modules}\n"
        f"    print(left.code, sorted(roots & set({_NOT_IMPORTED})), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, env=_environ(),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == "0 []\n"
    assert done.stdout.startswith(first) and len(done.stdout) > 10


def test_help_into_a_closed_pipe_is_not_an_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "--help"], check=False, cwd=tmp_path, env=_environ(),
        stdout=write, stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--wrokdir=x"],
         '`train` has no such flag. Received: "--wrokdir"; did you mean `--workdir`?'),
        (["--config.data.global_batch_siz=3"],
         '`data.global_batch_siz` is not a config field. Received: "3"; did you mean '
         "`data.global_batch_size`?"),
        (["--config.data.global_batch_size=many"],
         '`data.global_batch_size` must be an integer. Received: "many"; try 64.'),
        (["--devices=-1"], '`--devices` must be at least 0. Received: -1; try 0.'),
        (["trian"],
         'the verbs are train, evaluate, export, predict, report, launch, tune, cross_validate, compare, '
         'check, data, plan. Received: '
         '"trian"; did you mean `train`?'),
        (["evaluate"],
         '`--workdir` must name the folder of a run. Received: ""; try --workdir=runs/NAME.'),
        (["tune", "--", "--tpu=local"],
         "`tune` trains on CPUs and GPUs, by the package tensorflow. Received: a TPU, after `--`; run it "
         "where that is, or train each config separately on a TPU."),
    ],
)  # fmt: skip
def test_a_bad_flag_is_one_line_and_exit_code_2(tmp_path, argv, message):
    assert _error(_run(*argv, cwd=tmp_path)) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "TF_CONFIG: must be JSON, but "),
        ('{"cluster": {"worker": ["h:1", "h:2"]}}', "TF_CONFIG: `task` is missing, so "),
        ('{"cluster": {"worker": ["h:1"]}, "task": {"type": "worker", "index": 4}}',
         "TF_CONFIG: `task.index` must be 0 for a worker. Received: 4; "),
    ],
)  # fmt: skip
def test_a_bad_tf_config_is_one_line_and_exit_code_2(tmp_path, text, message):
    done = _run(f"--workdir={tmp_path / 'run'}", cwd=tmp_path, TF_CONFIG=text)
    assert _error(done).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_recipe_is_one_line_and_exit_code_2(tmp_path):
    done = _run("--config=digit_dense", f"--workdir={tmp_path / 'run'}", cwd=tmp_path)
    assert _error(done) == (
        "`--config` must be a recipe's name, or the path of a recipe or a config.json. Received: "
        '"digit_dense"; did you mean digits_dense? The recipes are dense_100, digits_dense, '
        "digits_gru, digits_pairs, digits_sweep, digits_vit, fashion_cnn, "
        "linear_100, mnist_cnn, mnist_dense, mnist_dense_ps, mnist_dp, mnist_fedavg, mnist_local_sgd, "
        "relu_regression, tabular, text_gru, wide_dense."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_fails_is_one_line_that_names_its_file_and_line(tmp_path):
    recipe = tmp_path / "broken.py"
    recipe.write_text("import sys\n\nimport no_such_package\n")
    line = _error(_run(f"--config={recipe}", cwd=tmp_path))
    assert str(recipe) in line and "line 3" in line and "no_such_package" in line


@pytest.mark.parametrize("folder", ["nothing", "x" * 300])
def test_evaluating_a_folder_without_a_run_is_one_line_and_exit_code_2(tmp_path, folder):
    path = tmp_path / folder
    done = _run("evaluate", f"--workdir={path}", cwd=tmp_path)
    assert _error(done) == (
        f"`--workdir` holds no run. Received: {str(path)!r}; name a folder that `python -m trainer` "
        "wrote."
    )
