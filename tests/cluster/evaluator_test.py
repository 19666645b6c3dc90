"""Does an evaluator evaluate the checkpoints that the others save?"""

import json

import pytest

from tests.cluster import cluster
from tests.paths import ROOT

EPOCHS = 5
# Of the second, evaluation takes averages of the weights, which are among its optimizer's slots.
OWN_MODEL = str(ROOT / "tests" / "recipes" / "float16.py")


@pytest.mark.parametrize(
    "recipe, steps_per_epoch, tasks, more",
    [
        ("digits_dense", 24, {"workers": 1, "ps": 1}, ()),
        (OWN_MODEL, 3, {"workers": 1}, ()),
        # Of a part of the model each; the evaluator has all of it.
        ("digits_dense", 24, {"workers": 2}, ("--mesh=model:2", "--config.model.blocks=2")),
    ],
    ids=["servers", "own model", "mesh"],
)
def test_the_evaluator_computes_the_same_metrics_as_evaluate(
    recipe, steps_per_epoch, tasks, more, tmp_path
):
    flags = f"--config={recipe}", f"--config.train.epochs={EPOCHS}", *more
    process = cluster.launching(tmp_path, *flags, also=["--evaluator"], **tasks)
    run = cluster.finished(process, tmp_path)
    events = [json.loads(line) for line in (tmp_path / "evaluator.jsonl").read_text().splitlines()]
    last = events[-1]
    assert last["step"] == run.summary["steps"] == EPOCHS * steps_per_epoch
    with cluster.Process([*cluster.TRAINER, "evaluate", f"--workdir={tmp_path}"]) as evaluation:
        assert evaluation.wait() == 0, evaluation.said
    found = cluster.printed_json(evaluation)
    names = ("step", "loss", "accuracy")
    assert [last[name] for name in names] == [found[name] for name in names]
    assert found["loss"] == run.summary["test_loss"]
    assert found["accuracy"] == run.summary["test_accuracy"]
