"""Do Keras's layers, custom ones and nested models end with the same bits in every layout of replicas?

`tests/recipes/all_layers.py` has a net for each kind of input, with all layers that take it side by side.
They train for six steps of 16 examples, on 36 examples: the last batch of an epoch has four.
"""

import pytest

from tests.cluster import cluster, own_models
from tests.paths import ROOT

RECIPE = ROOT / "tests" / "recipes" / "all_layers.py"
SHORT = ("text",)
NETS = ("text", "film", "numbers", "words", "image", "line")
OTHERS = ("2 devices", "2 workers", "2 ps and worker")
PATIENCE_S = 600.0  # Of nets with thirty kinds of layers, traced in four blocks.


def _each(nets_and_more):
    """The cases of a test, of which only the quick ones are for the short version."""
    return [
        pytest.param(*case, marks=[] if is_short else [pytest.mark.long])
        for case, is_short in nets_and_more
    ]


def _flags(net):
    return f"--config={RECIPE}", f"--config.name={net}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run of a net in a layout, run at the first use."""
    return own_models.runner(tmp_path_factory, _flags, PATIENCE_S)


@pytest.mark.timeout(2000)
@pytest.mark.parametrize(
    "net, layout",
    _each(
        ((net, layout), net in SHORT and layout == "2 workers") for net in NETS for layout in OTHERS
    ),
)
def test_every_layout_ends_with_the_bits_of_one_device(net, layout, run):
    own_models.assert_same_bits(run(net, layout), run(net, "1 device"))


@pytest.mark.timeout(2000)
@pytest.mark.parametrize(
    "net, threads", _each(((net, n), False) for net in NETS for n in (1, 2, 4))
)
def test_the_number_of_threads_changes_no_bit(net, threads, run, tmp_path):
    flags = [*cluster.TRAINER, *_flags(net), f"--workdir={tmp_path}"]
    environ = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
    done = cluster.finished(cluster.Process(flags, environ), tmp_path, PATIENCE_S)
    assert done.summary["weights_sha256"] == run(net, "1 device").summary["weights_sha256"]


@pytest.mark.long
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("net", NETS)
def test_a_killed_run_resumes_to_the_same_bits_on_two_devices(net, run, tmp_path):
    resumed = own_models.killed_and_resumed(tmp_path, _flags(net), PATIENCE_S)
    single = run(net, "1 device")
    assert resumed.summary["weights_sha256"] == single.summary["weights_sha256"]
