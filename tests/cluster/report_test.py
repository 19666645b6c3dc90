"""Is a run's page written in the end, with its time over all starts, without a change to a bit?"""

import itertools
import json
import os
import signal
import textwrap

import pytest

from strategies.cluster.spec import Task
from tests.cluster import cluster, held
from trainer.reporting import goodput

_RECIPE = """
    from configs.digits_dense import get_config

    class Lines:
        def __init__(self, path):
            self._file = open(path, "a")

        def write(self, event, step, values):
            print(event, step, values["loss"], file=self._file, flush=True)

        def close(self):
            print("closed", file=self._file)
            self._file.close()

    def get_writer(config, workdir):
        return Lines(workdir + "/lines.txt")
"""
STEPS = "--config.train.steps=360"


def test_a_killed_worker_is_on_the_page_and_neither_it_nor_tracing_changes_a_bit(tmp_path):
    recipe = tmp_path / "digits_dense.py"
    recipe.write_text(textwrap.dedent(_RECIPE))
    plain = cluster.finished(
        cluster.training(tmp_path / "plain", STEPS, "--report=false"), tmp_path / "plain"
    )
    flags = (f"--config={recipe}", STEPS, "--profile=100:110", "--config.train.tensorboard_details")
    folder = tmp_path / "two"
    with held.before(step=240) as hold, cluster.launching(folder, *flags) as launched:
        launched.await_line("eval       | step     120")
        os.kill(cluster.pid_of(launched, Task("worker", 1)), signal.SIGKILL)
        hold.release()
        assert launched.wait() == 0, launched.said
    run = cluster.Run(folder)
    assert run.summary["weights_sha256"] == plain.summary["weights_sha256"]
    assert not (plain.workdir / "report.html").exists()

    spent = run.summary["time_spent"]
    assert spent["starts"] == 2 and 0 < spent["goodput"] < 1
    assert {"start", "compile", "compute", "exchange", "evaluate", "save", "away"} <= {
        *spent["seconds"]
    }
    # To the rounding of each phase, nothing is counted twice or left out.
    assert sum(spent["seconds"].values()) == pytest.approx(spent["wall_s"], abs=0.02)
    tasks = goodput.of_run(folder)
    assert [task.task for task in tasks] == ["worker 0", "worker 1"]
    assert [task.starts for task in tasks] == [2, 2]
    for task in tasks:
        away = itertools.pairwise(task.events)  # Not counted between an orderly end and a start.
        left_s = sum(b.time - a.time for a, b in away if (a.kind, b.kind) == ("end", "start"))
        walls = task.spans[-1].ended - task.events[0].time - left_s
        assert task.wall_s == pytest.approx(walls, rel=0.02, abs=0.2)

    page = (folder / "report.html").read_text()
    for part in ("multi_worker", "started again", "Confusion matrix", "data:image/png", "worker 1"):
        assert part in page
    facts = json.loads((folder / "report.json").read_text())
    (answers,) = facts["answers"]["outputs"]
    assert answers["right"] / 300 == pytest.approx(run.summary["test_accuracy"])

    lines = (folder / "lines.txt").read_text().splitlines()
    losses = dict(line.rsplit(" ", 1) for line in lines if line != "closed")
    for record in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        if record["event"] == "train":
            assert float(losses[f"train {record['step']}"]) == record["loss"]
    assert lines[-1] == "closed"
    for worker in (0, 1):
        traced = [
            *folder.glob(f"tensorboard/profile-worker-{worker}/plugins/profile/*/*.xplane.pb")
        ]
        assert traced and traced[0].stat().st_size > 1000


_NOT_A_NUMBER = """
    import keras
    import numpy as np
    from trainer.recipe import ExperimentConfig

    def get_config():
        return ExperimentConfig()

    def get_data(config):
        labels = np.arange(128) % 2
        good = np.ones((128, 4), np.float32)
        return {"train": (np.where(labels[:, None], good, np.nan), labels), "test": (good, labels)}

    def get_model(config, data):
        return keras.Sequential([keras.layers.Dense(2)])
"""


def test_a_run_that_fails_leaves_a_page_that_says_why(tmp_path):
    recipe = tmp_path / "bad.py"
    recipe.write_text(textwrap.dedent(_NOT_A_NUMBER))
    with cluster.training(tmp_path / "run", f"--config={recipe}") as process:
        assert process.wait() == 2, process.said
    page = (tmp_path / "run" / "report.html").read_text()
    assert "failed: the loss became nan at step 0" in page and "Confusion" not in page


@pytest.mark.filterwarnings("ignore")  # Of MLflow's own use of its database.
def test_mlflow_gets_the_metrics_of_a_run_and_of_its_resumption(tmp_path):
    pytest.importorskip("mlflow", reason="needs the package mlflow")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    page = (cluster.ROOT / "docs" / "metrics.md").read_text()
    recipe = tmp_path / "tracked.py"
    recipe.write_text(page.partition("```python\n# tracked.py\n")[2].partition("```")[0])
    for steps in (48, 96):
        args = [*cluster.TRAINER, f"--config={recipe}", f"--config.train.steps={steps}",
                f"--workdir={tmp_path / 'run'}"]  # fmt: skip
        cluster.finished(cluster.Process(args, {"MLFLOW_TRACKING_URI": store}), tmp_path / "run")
    import mlflow

    client = mlflow.MlflowClient(store)
    (kept,) = (tmp_path / "run").glob("mlflow_run.txt")
    history = client.get_metric_history(kept.read_text(), "train/loss")
    assert sorted({point.step for point in history}) == [24, 48, 72, 96]
    written = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    losses = {one["step"]: one["loss"] for one in written if one["event"] == "train"}
    assert {point.step: point.value for point in history} == losses
