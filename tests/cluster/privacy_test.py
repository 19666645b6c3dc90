"""Is a private run the same in every layout, and does it end before its budget is exceeded?"""

import json

import pytest

from tests.cluster import own_models
from tests.paths import ROOT

FLAGS = {
    "private": [f"--config={ROOT / 'tests' / 'recipes' / 'private.py'}"],
    "dense": [
        "--config.data.train_examples=256",
        "--config.train.epochs=2",
        "--config.model.dropout=0.2",
        "--config.privacy.clip_norm=1",
        "--config.privacy.noise_multiplier=1",
    ],
}
RESULTS = ("steps", "ended_by", "epsilon", "test_loss", "weights_sha256")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run in a layout, run at the first use."""
    return own_models.runner(tmp_path_factory, FLAGS.get)


def _results(run):
    return {name: run.summary[name] for name in RESULTS}


def test_a_run_ends_before_its_epsilon_exceeds_the_limit(run):
    single = run("private", "1 device")
    assert single.summary["ended_by"] == {"privacy.max_epsilon": 7.0}
    assert 3 < single.summary["steps"] < 6
    assert 0.0 < single.summary["epsilon"] <= 7.0
    lines = (single.workdir / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    spent = [event["epsilon"] for event in events if event["event"] == "eval"]
    assert spent == sorted(spent) and spent[-1] == single.summary["epsilon"]


@pytest.mark.parametrize("recipe", FLAGS)
def test_two_workers_end_with_the_bits_of_one_process(recipe, run):
    assert _results(run(recipe, "2 workers")) == _results(run(recipe, "1 device"))


def test_a_killed_run_ends_with_the_same_bits(run, tmp_path):
    resumed = own_models.killed_and_resumed(tmp_path, FLAGS["private"])
    assert _results(resumed) == _results(run("private", "1 device"))
