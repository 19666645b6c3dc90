"""Is a run over for a task that starts, and how long does it then wait for others?"""

import json

import pytest

from strategies.cluster.spec import ClusterSpec, Task
from trainer.config import load as config_load
from trainer.config import schema as config_lib
from trainer.task import already_finished

CLUSTER = {"chief": ("a:1",), "worker": ("b:1", "c:1"), "ps": ("d:1",)}
WORKER, PS, CHIEF = (ClusterSpec(CLUSTER, Task(job, 0)) for job in ("worker", "ps", "chief"))


def _config(*overrides):
    return config_load.resolve("digits_dense", dict(one.split("=") for one in overrides))


@pytest.fixture
def workdir(tmp_path):
    """Of a run of 20 epochs, all of them taken."""
    (tmp_path / "config.json").write_text(config_lib.to_json(_config()))
    (tmp_path / "summary.json").write_text(json.dumps({"steps": 480, "epochs": 20.0}))
    return tmp_path


@pytest.mark.parametrize("overrides", [[], ["train.epochs=7"], ["train.steps=480"]])
def test_a_run_is_over_once_its_summary_tells_of_all_steps_that_are_asked_for(workdir, overrides):
    assert already_finished.is_over(str(workdir), _config(*overrides))


@pytest.mark.parametrize(
    "overrides", [["train.epochs=21"], ["train.steps=481"], ["optimizer.learning_rate=0.5"]]
)
def test_a_run_that_is_asked_for_more_or_for_something_else_goes_on(workdir, overrides):
    assert not already_finished.is_over(str(workdir), _config(*overrides))


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
@pytest.mark.parametrize("damage", [None, "", "[]", '{"steps": "many", "epochs": null}'])
def test_a_run_whose_end_cannot_be_read_goes_on(workdir, name, damage):
    (workdir / name).unlink()
    if damage is not None:
        (workdir / name).write_text(damage)
    assert not already_finished.is_over(str(workdir), _config())


def test_a_task_that_sees_no_workdir_takes_the_run_to_go_on(tmp_path):
    for path in ("", str(tmp_path / "none"), "gs://bucket/run"):
        assert not already_finished.is_over(path, _config())
        assert already_finished.patience_s(120.0, path, _config(), WORKER) == 120.0


def test_only_who_is_called_waits_less_once_all_is_done(workdir):
    for cluster, asked_s, expected_s in (
        (WORKER, 120.0, 30.0),
        (PS, 120.0, 30.0),
        (WORKER, 5.0, 5.0),
        (CHIEF, 120.0, 120.0),
    ):
        assert already_finished.patience_s(asked_s, str(workdir), _config(), cluster) == expected_s
    longer = _config("train.epochs=21")
    assert already_finished.patience_s(120.0, str(workdir), longer, WORKER) == 120.0
