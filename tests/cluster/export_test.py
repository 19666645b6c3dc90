"""Is a run's model exported and asked by the command line, and is the answer the same everywhere?"""

import json

import numpy as np
import pytest

from tests.cluster import cluster
from trainer.config.schema import DataConfig
from trainer.data import registry


def _json_lines(process) -> list[dict]:
    return [json.loads(line) for line in process.screen if line.startswith("{")]


def _ran(*args) -> cluster.Process:
    with cluster.Process([*cluster.TRAINER, *map(str, args)]) as process:
        assert process.wait() == 0, process.said
    return process


def test_a_run_and_its_export_give_the_same_answers(tmp_path):
    flags = ["--config.train.steps=48", "--config.optimizer.ema_momentum=0.9"]
    run = cluster.finished(cluster.training(tmp_path / "run", *flags), tmp_path / "run")
    exported = _ran("export", f"--workdir={run.workdir}", "--format=tflite")
    path = run.workdir / "export" / "model.tflite"
    figures = json.loads((path.parent / "model.tflite.json").read_text())["measured"]
    assert figures["model.tflite"]["accuracy"] == pytest.approx(run.summary["test_accuracy"])
    assert figures["step 48"]["loss"] == pytest.approx(run.summary["test_loss"], rel=1e-5)
    assert f"{path.stat().st_size:,}" in exported.said
    again = json.loads((run.workdir / "summary.json").read_text())
    assert again == run.summary | {"exports": ["export/model.tflite"]}

    test = registry.load(DataConfig(name="digits")).test
    np.save(tmp_path / "test.npy", test.features)
    of_run = _json_lines(_ran("predict", run.workdir, tmp_path / "test.npy"))
    of_export = _json_lines(_ran("predict", path, tmp_path / "test.npy"))
    right = [row["class"] == label for row, label in zip(of_run, test.targets, strict=True)]
    assert np.mean(right) == pytest.approx(run.summary["test_accuracy"])
    # Of float32 logits near 10, added in another order: within a few times 10 * 2^-24.
    for one, other in zip(of_run, of_export, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("name", ["keras", "savedmodel", "tflite", "onnx"])
def test_two_inputs_and_two_outputs_are_exported_by_name(name, tmp_path):
    flags = ["--config=digits_pairs", "--config.train.steps=20"]
    cluster.finished(cluster.training(tmp_path / "run", *flags), tmp_path / "run")
    _ran("export", f"--workdir={tmp_path / 'run'}", f"--format={name}")
    about = next((tmp_path / "run" / "export").glob("*.json"))
    before, after = json.loads(about.read_text())["measured"].values()
    shared = {"loss", "same_loss", "sum_loss", "same_binary_accuracy", "sum_mae"}
    assert {one: before[one] for one in shared} == pytest.approx(
        {one: after[one] for one in shared}, rel=1e-4
    )
    halves = {"left": np.zeros((3, 8, 8)), "right": np.ones((3, 8, 8))}
    np.savez(tmp_path / "pairs.npz", **halves)
    export = about.with_name(about.name.removesuffix(".json"))
    rows = _json_lines(_ran("predict", export, tmp_path / "pairs.npz"))
    assert [set(row) for row in rows] == [{"file", "index", "same", "sum"}] * 3
    assert set(rows[0]["same"]) == {"class", "probabilities"} and set(rows[0]["sum"]) == {"values"}


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with cluster.Process([*cluster.TRAINER, "export", f"--workdir={tmp_path}"]) as process:
        assert process.wait() == 2
        assert process.error.startswith("`--workdir` holds no run.")
