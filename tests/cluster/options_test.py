"""Do a validation split, a schedule, early stopping and a time limit decide alike in every layout?"""

import json

import pytest

from tests.cluster import cluster, own_models
from tests.paths import ROOT

FLAGS = [f"--config={ROOT / 'tests' / 'recipes' / 'options.py'}"]
RESULTS = (
    "steps", "best_step", "ended_by", "validation_loss", "validation_accuracy", "test_loss",
    "weights_sha256",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run in a layout, run at the first use."""
    return own_models.runner(tmp_path_factory, lambda recipe: FLAGS)


def _results(run):
    return {name: run.summary[name] for name in RESULTS}


def test_a_run_stops_early_with_the_weights_of_its_best_validation_loss(run):
    single = run("options", "1 device")
    lines = (single.workdir / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    losses = {event["step"]: event["loss"] for event in events if event["event"] == "validation"}
    best = single.summary["best_step"]
    assert single.summary["ended_by"] == {"early_stopping.patience": 2}
    assert single.summary["steps"] == best + 2 * 2 < 60  # Two evaluations later, of 2 steps each.
    assert single.summary["validation_loss"] == losses[best] == min(losses.values())
    assert best in single.checkpoint_steps
    (tested,) = [event for event in events if event["event"] == "eval"]
    assert (tested["step"], tested["loss"]) == (best, single.summary["test_loss"])


@pytest.mark.parametrize(
    "layout", ["2 workers", "2 ps and worker", pytest.param("2 devices", marks=pytest.mark.long)]
)
def test_every_layout_stops_at_the_same_step_with_the_same_bits(layout, run):
    assert _results(run("options", layout)) == _results(run("options", "1 device"))


def test_a_killed_run_stops_where_it_would_have_and_a_finished_one_again(run, tmp_path):
    resumed = own_models.killed_and_resumed(tmp_path, FLAGS)
    assert _results(resumed) == _results(run("options", "1 device"))
    again = cluster.finished(cluster.training(tmp_path, *FLAGS), tmp_path)
    assert _results(again) == _results(run("options", "1 device"))


def test_a_time_limit_ends_all_tasks_at_one_step_and_a_larger_one_resumes(run, tmp_path):
    limited = [*FLAGS, "--config.train.steps_per_loop=1", "--config.train.max_time_s=0.001"]
    first = cluster.finished(cluster.launching(tmp_path, *limited), tmp_path)
    assert first.summary["ended_by"] == {"train.max_time_s": 0.001}
    assert first.summary["steps"] == 1 and "test_loss" in first.summary
    again = cluster.finished(cluster.launching(tmp_path, *limited), tmp_path)
    assert _results(again) == _results(first)
    resumed = cluster.finished(cluster.launching(tmp_path, *FLAGS), tmp_path)
    assert _results(resumed) == _results(run("options", "1 device"))


NET = [
    "--config.data.train_examples=106", "--config.data.global_batch_size=48",
    "--config.train.epochs=2", "--config.model.hidden_units=16", "--config.model.dropout=0.3",
    "--config.model.l1=0.001", "--config.model.l2=0.01", "--config.train.label_smoothing=0.1",
    "--config.optimizer.ema_momentum=0.8",
]  # fmt: skip


def test_a_regularized_net_has_the_same_bits_after_a_kill_and_on_parameter_servers(tmp_path):
    single = cluster.finished(cluster.training(tmp_path / "1", *NET), tmp_path / "1")
    resumed = own_models.killed_and_resumed(tmp_path / "killed", NET)
    servers = cluster.launching(tmp_path / "ps", *NET, workers=1, ps=2)
    own_models.assert_same_bits(resumed, single)
    own_models.assert_same_bits(cluster.finished(servers, tmp_path / "ps"), single)
