"""Do ten models in the style of Keras's examples learn, and to the same bits on two workers?"""

import json

import pytest

from tests.cluster import cluster
from tests.paths import ROOT

GALLERY = ROOT / "tests" / "recipes" / "gallery"
RECIPES = sorted(path.stem for path in GALLERY.glob("*.py") if path.stem != "small_data")
SHORT = ("siamese", "variational_autoencoder")


def _losses(run):
    """The mean loss of each epoch."""
    lines = (run.workdir / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if record["event"] == "train"]


def test_there_are_ten():
    assert len(RECIPES) == 10


@pytest.mark.parametrize(
    "recipe",
    [one if one in SHORT else pytest.param(one, marks=pytest.mark.long) for one in RECIPES],
)
def test_a_model_learns_and_ends_with_the_same_bits_on_two_workers(recipe, tmp_path):
    flag = f"--config={GALLERY / f'{recipe}.py'}"
    one, two = tmp_path / "one", tmp_path / "two"
    single = cluster.finished(cluster.training(one, flag), one)
    double = cluster.finished(cluster.launching(two, flag), two)
    assert double.summary["weights_sha256"] == single.summary["weights_sha256"]
    assert double.summary["test_loss"] == single.summary["test_loss"]
    losses = _losses(single)
    assert losses == _losses(double)
    assert losses[-1] < 0.97 * losses[0], losses
