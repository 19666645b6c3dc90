"""Does a task that starts late know that its run has finished, and does it then wait less?"""

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
    """The workdir of a finished run of 20 epochs."""
    (tmp_path / "config.json").write_text(config_lib.to_json(_config()))
    (tmp_path / "summary.json").write_text(json.dumps({"steps": 480, "epochs": 20.0}))
    return tmp_path


@pytest.mark.parametrize("overrides", [[], ["train.epochs=7"], ["train.steps=480"]])
def test_a_run_has_finished_once_its_summary_has_all_steps_of_the_config(workdir, overrides):
    assert already_finished.is_finished(str(workdir), _config(*overrides))


@pytest.mark.parametrize(
    "overrides", [["train.epochs=21"], ["train.steps=481"], ["optimizer.learning_rate=0.5"]]
)
def test_a_run_with_more_steps_or_another_config_has_not_finished(workdir, overrides):
    assert not already_finished.is_finished(str(workdir), _config(*overrides))


@pytest.mark.parametrize("patience, expected", [(3, True), (4, False), (0, False)])
def test_a_run_that_stopped_early_has_finished_unless_it_may_now_go_further(
    workdir, patience, expected
):
    summary = {"steps": 48, "epochs": 2.0, "ended_by": {"early_stopping.patience": 3}}
    (workdir / "summary.json").write_text(json.dumps(summary))
    config = _config(f"early_stopping.patience={patience}")
    assert already_finished.is_finished(str(workdir), config) == expected


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
@pytest.mark.parametrize("damage", [None, "", "[]", '{"steps": "many", "epochs": null}'])
def test_a_run_without_a_readable_summary_has_not_finished(workdir, name, damage):
    (workdir / name).unlink()
    if damage is not None:
        (workdir / name).write_text(damage)
    assert not already_finished.is_finished(str(workdir), _config())


def test_a_task_that_sees_no_workdir_assumes_that_the_run_continues(tmp_path):
    for path in ("", str(tmp_path / "none"), "gs://bucket/run"):
        assert not already_finished.is_finished(path, _config())
        assert already_finished.meet_timeout_s(120.0, path, _config(), WORKER) == 120.0


def test_only_a_task_that_is_not_the_leader_waits_less_after_the_end(workdir):
    for cluster, asked_s, expected_s in (
        (WORKER, 120.0, 30.0),
        (PS, 120.0, 30.0),
        (WORKER, 5.0, 5.0),
        (CHIEF, 120.0, 120.0),
    ):
        assert (
            already_finished.meet_timeout_s(asked_s, str(workdir), _config(), cluster) == expected_s
        )
    longer = _config("train.epochs=21")
    assert already_finished.meet_timeout_s(120.0, str(workdir), longer, WORKER) == 120.0
