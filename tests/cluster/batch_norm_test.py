"""Are weights the same bits in every layout where batch normalization uses the whole batch's statistics?

The recipe is the net of `own_model_test.py`, on 106 examples in batches of 48: the last batch of an epoch
has 10, so that a block has padding and the last one has nothing else.
"""

import pytest

from tests.cluster import cluster, own_models
from tests.cluster.parity_test import LAYOUTS
from tests.paths import ROOT

_FLAGS = [f"--config={ROOT / 'tests' / 'recipes' / 'cnn.py'}", "--config.model.batch_norm=global"]
SHORT = ("2 workers",)
LONG = ("2 devices", "2 workers of 2 devices", "2 ps and worker")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run in a layout, run at the first use."""
    return own_models.runner(tmp_path_factory, lambda _: _FLAGS)


@pytest.mark.parametrize(
    "layout", [*SHORT, *(pytest.param(one, marks=pytest.mark.long) for one in LONG)]
)
def test_every_layout_ends_with_the_bits_of_one_device(layout, run):
    own_models.assert_same_bits(run("cnn", layout), run("cnn", "1 device"))


def test_a_killed_run_resumes_to_the_same_bits_on_two_devices(run, tmp_path):
    resumed = own_models.killed_and_resumed(tmp_path, _FLAGS)
    single = run("cnn", "1 device")
    assert resumed.summary["weights_sha256"] == single.summary["weights_sha256"]


def test_replicas_that_add_nothing_within_a_step_are_refused_and_check_says_so(tmp_path):
    _, start = LAYOUTS["2 workers through TensorFlow"]
    message = "`model.batch_norm` must be block on a TPU, on several GPUs of one process"
    with start(tmp_path / "workdir", *_FLAGS) as process:
        assert process.wait() == 2
    assert message in process.said and "Traceback" not in process.said
    environ = cluster.tf_config(cluster.clusters(worker=2)[0])
    flags = [*cluster.TRAINER, "check", *_FLAGS, "--transport=tensorflow"]
    with cluster.Process(flags, environ) as checked:
        assert checked.wait() == 2
    assert f"WRONG model     {message}" in checked.said
