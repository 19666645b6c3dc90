"""Do the recipes with models of their own end with the same bits in every layout, and after a kill?

They train for six steps of 48 examples, on 106 examples: the last batch of an epoch has 10. `mnist_cnn`
and `fashion_cnn`, whose images are augmented, take the embedded digits, so that they need no files.
"""

import pytest

from tests.cluster import cluster, own_models
from tests.paths import ROOT
from trainer.config.schema import DataConfig
from trainer.data.sources import digits
from trainer.order.sample_order import SampleOrder

_SHORT = [
    "--config.data.global_batch_size=48",
    "--config.data.train_examples=106",
    "--config.train.epochs=2",
]
RECIPES = {
    "mnist_cnn": ["--config.data.name=digits"],
    "fashion_cnn": ["--config.data.source=", "--config.optimizer.warmup_steps=2"],
    "digits_vit": [],
    "digits_gru": [],
    "digits_pairs": [],
    "tabular": [],
    "text_gru": [],
}
# What one recipe shows here and `own_model_test.py` for other models, the others repeat.
SHOWN = {("mnist_cnn", layout) for layout in ("2 devices", "2 workers", "2 ps and worker")}
SHOWN |= {("digits_gru", "2 workers")}
FURTHER = ("2 devices", "2 workers", "2 ps and worker", "2 workers of 2 devices")


def _flags(recipe):
    return [f"--config={recipe}", *_SHORT, *RECIPES[recipe]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run of a recipe in a layout, run at the first use."""
    return own_models.runner(tmp_path_factory, _flags)


@pytest.mark.parametrize(
    "recipe, layout",
    [
        pytest.param(recipe, layout, marks=[] if (recipe, layout) in SHOWN else pytest.mark.long)
        for recipe in RECIPES
        for layout in FURTHER
    ],
)
def test_every_layout_ends_with_the_bits_of_one_device(recipe, layout, run):
    own_models.assert_same_bits(run(recipe, layout), run(recipe, "1 device"))


@pytest.mark.parametrize(
    "recipe", ["mnist_cnn", *(pytest.param(one, marks=pytest.mark.long) for one in [*RECIPES][1:])]
)
def test_a_killed_run_resumes_to_the_same_bits_as_another_layout(recipe, run, tmp_path):
    resumed = own_models.killed_and_resumed(tmp_path, _flags(recipe))
    single = run(recipe, "1 device")
    assert resumed.summary["weights_sha256"] == single.summary["weights_sha256"]


def test_augmented_examples_are_what_is_trained_on_with_any_placement_and_loop(run, tmp_path):
    plain = tmp_path / "mnist_cnn.py"
    source = ROOT / "configs" / "mnist_cnn.py"
    plain.write_text(source.read_text().replace("def augment(", "def unused("))
    flags = [f"--config={plain}", *_SHORT, *RECIPES["mnist_cnn"]]
    without = cluster.finished(cluster.training(tmp_path / "plain", *flags), tmp_path / "plain")
    more = "--config.data.placement=resident", "--config.train.steps_per_loop=1"
    augmented = run("mnist_cnn", "1 device").summary
    assert (
        run("mnist_cnn", "1 device", *more).summary["weights_sha256"]
        == (augmented["weights_sha256"])
    )
    assert without.summary["weights_sha256"] != augmented["weights_sha256"]


def test_an_augmentation_that_fails_on_a_worker_ends_the_run_with_its_lines(tmp_path):
    first = SampleOrder(106, 48, seed=0).step_batch(0)
    failing = int(first[24:].max())  # On worker 1.
    total = int(digits.load(DataConfig()).train.features[failing].sum())
    recipe = tmp_path / "failing.py"
    recipe.write_text(
        (ROOT / "configs" / "mnist_cnn.py").read_text()
        + "\n_whole = augment\ndef augment(example, rng):\n"
        f"    assert example[0].sum() != {total}, 'not this one'\n"
        "    return _whole(example, rng)\n"
    )
    flags = [f"--config={recipe}", *_SHORT, *RECIPES["mnist_cnn"]]
    with cluster.launching(tmp_path / "workdir", *flags, workers=2) as process:
        assert process.wait() == 2
    assert "AssertionError: not this one; correct the recipe." in process.said
    assert f"  given training example {failing}, in epoch 0" in process.said
    assert "Traceback" not in process.said
