"""Does a recipe's own model end with the same bits in every layout of replicas, and after a kill?

The recipes are a convolutional net with batch normalization and dropout, the same in mixed precision of
both kinds, and one with two inputs and two outputs. They train for six steps of 48 examples, on 106
examples: the last batch of an epoch has 10.
"""

import json
import re
import shutil

import pytest

from tests.cluster import cluster, own_models
from tests.cluster.parity_test import LAYOUTS
from tests.paths import ROOT

NAMES = "cnn", "bfloat16", "two_inputs", "float16"
RECIPES = {name: ROOT / "tests" / "recipes" / f"{name}.py" for name in NAMES}
OTHERS = ("2 devices", "2 workers", "2 ps and worker")
FURTHER = ("2 separate devices", "2 workers of 2 devices", "2 workers through TensorFlow")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run of a recipe in a layout, run at the first use."""
    return own_models.runner(tmp_path_factory, lambda recipe: [f"--config={RECIPES[recipe]}"])


# What one recipe shows, the others repeat.
SHOWN = {(name, layout) for name in NAMES[:3] for layout in OTHERS}
SHOWN |= {("float16", "2 workers"), ("float16", "2 ps and worker")}


@pytest.mark.parametrize(
    "recipe, layout",
    [
        pytest.param(name, layout, marks=[] if (name, layout) in SHOWN else pytest.mark.long)
        for name in NAMES
        for layout in (*OTHERS, *FURTHER)
    ],
)
def test_every_layout_ends_with_the_bits_of_one_device(recipe, layout, run):
    own_models.assert_same_bits(run(recipe, layout), run(recipe, "1 device"))


@pytest.mark.parametrize("threads", [1, pytest.param(4, marks=pytest.mark.long)])
def test_the_number_of_threads_changes_no_bit(threads, run, tmp_path):
    flags = [*cluster.TRAINER, f"--config={RECIPES['cnn']}", f"--workdir={tmp_path}"]
    environ = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
    done = cluster.finished(cluster.Process(flags, environ), tmp_path)
    assert done.summary["threads"] == 1  # For one operation.
    assert done.summary["weights_sha256"] == run("cnn", "1 device").summary["weights_sha256"]


@pytest.mark.parametrize("recipe", [*NAMES[:3], pytest.param("float16", marks=pytest.mark.long)])
def test_a_killed_run_resumes_to_the_same_bits_as_another_layout(recipe, run, tmp_path):
    resumed = own_models.killed_and_resumed(tmp_path, [f"--config={RECIPES[recipe]}"])
    single = run(recipe, "1 device")
    assert resumed.summary["weights_sha256"] == single.summary["weights_sha256"]


def test_evaluate_reports_the_metrics_of_the_run(run):
    done = run("two_inputs", "2 workers")
    with cluster.Process([*cluster.TRAINER, "evaluate", f"--workdir={done.workdir}"]) as evaluation:
        assert evaluation.wait() == 0, evaluation.said
    found = cluster.printed_json(evaluation)
    assert found.pop("step") == 6
    assert found == {
        name.removeprefix("test_"): value
        for name, value in done.summary.items()
        if name.startswith("test_")
    }
    assert {"loss", "kind_loss", "value_loss", "kind_accuracy"} < {*found}


def test_a_run_with_another_model_is_refused_with_the_difference_named(run, tmp_path):
    recipe, workdir = tmp_path / "cnn.py", tmp_path / "workdir"
    shutil.copytree(run("cnn", "1 device").workdir, workdir)
    text = RECIPES["cnn"].read_text()
    flags = f"--config={recipe}", "--config.train.epochs=3"
    recipe.write_text(text.replace("layers.Dense(16", "layers.Dense(17"))
    with cluster.training(workdir, *flags) as process:
        assert process.wait() == 2
    assert process.error == (
        "`--workdir` was begun with another model: `layers.sequential/dense.units` was 16. Received: 17 "
        f"for {str(workdir)!r}; choose another folder, or use the old recipe."
    )
    recipe.write_text(text.replace("epochs=2", "epochs=4") + "# Neither is a part of the model.\n")
    resumed = cluster.finished(cluster.training(workdir, *flags), workdir)
    assert resumed.summary["steps"] == 9 and "resuming at step 6" in resumed.screen


def test_tasks_with_other_recipes_refuse_to_train_together(tmp_path):
    texts = [RECIPES["cnn"].read_text(), RECIPES["cnn"].read_text().replace("0.25", "0.5")]
    tasks = []
    for index, (worker, text) in enumerate(zip(cluster.clusters(worker=2), texts, strict=True)):
        recipe = tmp_path / str(index) / "cnn.py"
        recipe.parent.mkdir()
        recipe.write_text(text)
        tasks.append(cluster.task(worker, tmp_path / "workdir", f"--config={recipe}"))
    with tasks[0] as leader, tasks[1] as other:
        assert leader.wait() == other.wait() == 2
    assert leader.error.startswith("`sources.recipe` must be the same on every task. Received: ")


def test_an_error_in_the_recipe_is_one_line_and_its_own_lines(tmp_path):
    recipe = tmp_path / "broken.py"
    recipe.write_text(
        RECIPES["cnn"].read_text() + "\ndef width():\n    return [][0]\n"
        "def get_optimizer(config):\n    return width()\n"
    )
    with cluster.training(tmp_path / "workdir", f"--config={recipe}") as process:
        assert process.wait() == 2
    line = len(recipe.read_text().splitlines())
    assert process.error == (
        f"recipe {recipe}, line {line - 2}: IndexError: list index out of range; correct the recipe."
    )
    assert process.screen[-3:-1] == [
        f"  {recipe}, line {line}, in get_optimizer: return width()",
        f"  {recipe}, line {line - 2}, in width: return [][0]",
    ]


def test_tensorflow_in_the_recipes_data_is_one_line_where_it_comes_too_early(tmp_path):
    recipe = tmp_path / "early.py"
    recipe.write_text(RECIPES["cnn"].read_text() + "\nkeras.ops.ones(())\n")
    flags = "--transport=tensorflow", f"--config={recipe}"
    with cluster.launching(tmp_path / "workdir", *flags, workers=2) as process:
        assert process.wait() == 2
    assert "`--transport=tensorflow` must be set up before TensorFlow computes" in process.said
    assert "Traceback" not in process.said


def test_a_sweep_trains_a_recipes_own_model(tmp_path):
    flags = [
        f"--config={RECIPES['two_inputs']}", f"--workdir={tmp_path}", "--max_trials=2", "--tuner=grid",
        "--space.train.seed=0|1",
    ]  # fmt: skip
    with cluster.Process([*cluster.TRAINER, "tune", *flags]) as process:
        assert process.wait() == 0, process.said
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("*/*/summary.json")]
    assert len(summaries) == 2 and len({one["weights_sha256"] for one in summaries}) == 2


# The word of example 30 or 31 is beyond the vocabulary, which no try on the first examples finds.
LATE = """
import keras
import numpy as np
from trainer.recipe import DataConfig, ExperimentConfig

class Words(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(5, 2)
    def call(self, x):
        return self.embedding(x)

def get_config():
    return ExperimentConfig(data=DataConfig(global_batch_size=8))

def get_data(config):
    x = np.ones((40, 4), int)
    x[EXAMPLE] = 7
    return {"train": (x, np.arange(40) % 3), "test": (x[:20], np.arange(20) % 3)}

def get_model(config, data):
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((4,), dtype="int32"), Words(), layers.Flatten(), layers.Dense(3)]
    )
"""


@pytest.mark.parametrize(
    "layout, example",
    [
        ("1 device", 30),
        ("2 workers", 31),  # Read by worker 1 in step 1.
        ("2 ps and worker", 30),
    ],
)
def test_a_value_that_the_model_refuses_in_a_step_is_one_line(layout, example, tmp_path):
    recipe = tmp_path / "late.py"
    recipe.write_text(LATE.replace("EXAMPLE", str(example)))
    _, start = LAYOUTS[layout]
    with start(tmp_path / "workdir", f"--config={recipe}") as process:
        assert process.wait() == 2
    line = LATE.splitlines().index("        return self.embedding(x)") + 1
    reason = "a step failed: InvalidArgumentError: indices[0,0] = 7 is not in [0, 5); correct the recipe."
    message = f"recipe {recipe}, line {line}: {reason}"
    if layout == "1 device":
        assert process.error == message
    if layout == "2 ps and worker":  # TensorFlow does not always send the line from the worker.
        assert re.fullmatch(
            rf"launch: chief 0 failed with exit code 2: recipe {recipe}(, line {line})?: "
            + re.escape(reason),
            process.screen[-1],
        )
        message = reason
    assert message in process.said and "Traceback" not in process.said
    assert len(process.screen) < 40
