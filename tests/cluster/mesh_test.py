"""Do workers that hold parts of a model end in the bits of one process, from and to any layout?

The nets are `mlp.py`, with padding, dropout, batch normalization and a pair whose input has a gradient,
`words.py`, with embeddings and attention, and the built-in one with three hidden layers.
"""

import functools
import os
import pathlib
import signal
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from strategies.cluster.spec import Task
from tests.cluster import cluster, held, own_models
from tests.cluster.cluster import Process, Run
from tests.paths import ROOT

_BUILT_IN = (
    "--config=digits_dense",
    "--config.data.train_examples=106",
    "--config.data.global_batch_size=48",
    "--config.train.epochs=2",
    "--config.model.blocks=4",
    "--config.model.hidden_units=64,32,48",
    "--config.model.dropout=0.2",
)
_MLP = (f"--config={ROOT / 'tests' / 'recipes' / 'mlp.py'}",)
_WORDS = (f"--config={ROOT / 'tests' / 'recipes' / 'words.py'}",)
_FLAGS = {"built in": _BUILT_IN, "mlp": _MLP, "words": _WORDS}


def _mesh(
    axes: str, workers: int, workdir: pathlib.Path, *flags: str, also: Sequence[str] = ()
) -> Process:
    return cluster.launching(workdir, f"--mesh={axes}", *flags, workers=workers, also=also)


LAYOUTS: dict[str, Callable[..., Process]] = {
    "1 process": cluster.training,
    "model:2": functools.partial(_mesh, "model:2", 2),
    "model:4": functools.partial(_mesh, "model:4", 4),
    "data:2,model:2": functools.partial(_mesh, "data:2,model:2", 4),
    "2 workers": functools.partial(cluster.launching, workers=2),
    "2 ps and worker": functools.partial(cluster.launching, workers=1, ps=2),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Callable[[str, str], Run]:
    """The finished run of a net in a layout, run at the first use."""

    @functools.cache
    def once(net: str, layout: str) -> Run:
        workdir = tmp_path_factory.mktemp("run") / "workdir"
        return cluster.finished(LAYOUTS[layout](workdir, *_FLAGS[net]), workdir)

    return once


@pytest.mark.parametrize(
    ("net", "layout"),
    [
        ("mlp", "model:2"),
        ("mlp", "data:2,model:2"),
        ("built in", "model:2"),
        ("words", "model:2"),
        ("words", "data:2,model:2"),
        pytest.param("words", "model:4", marks=pytest.mark.long),
        pytest.param("built in", "model:4", marks=pytest.mark.long),
        pytest.param("built in", "2 workers", marks=pytest.mark.long),
        pytest.param("mlp", "model:4", marks=pytest.mark.long),
        pytest.param("mlp", "2 workers", marks=pytest.mark.long),
        pytest.param("mlp", "2 ps and worker", marks=pytest.mark.long),
    ],
)
def test_every_layout_ends_with_the_bits_of_one_process(net, layout, run):
    own_models.assert_same_bits(run(net, layout), run(net, "1 process"))


def test_a_checkpoint_has_the_same_arrays_whatever_saved_it(run):
    one, two = run("mlp", "1 process").arrays, run("mlp", "model:2").arrays
    assert [*one] == [*two]
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)


def test_a_task_sends_what_the_layout_implies(run):
    """Forward, each pair's output; backward, the input of a pair that has weights before it."""
    sent = run("built in", "model:2").summary
    rows, floats = 48, 32 + 10 + 32  # Pairs 784-64-32 and 32-48-10.
    assert sent["update_bytes"] == sent["steps"] * rows * floats * 4
    assert sent["num_replicas"] == 1 and sent["strategy"] == "mesh"


def test_embeddings_and_attention_send_what_the_layout_implies(tmp_path):
    """Forward, the output of 2 embeddings, 2 layers of attention and a pair; backward, 4 inputs.

    These are the pair's, that of the first attention, and two of the second.
    """
    flags = [*_WORDS, "--config.data.train_examples=96"]
    sent = cluster.finished(_mesh("model:2", 2, tmp_path, *flags), tmp_path).summary
    assert sent["update_bytes"] == sent["steps"] * 48 * 8 * 16 * (5 + 4) * 4


@pytest.mark.parametrize("net", ["mlp", "words"])
def test_a_run_goes_on_in_any_layout(net, run, tmp_path):
    layouts = "model:2", "1 process", "data:2,model:2"
    for steps, layout in zip((2, 4, 6), layouts, strict=True):
        started = LAYOUTS[layout](tmp_path, *_FLAGS[net], f"--config.train.steps={steps}")
        assert f"resuming at step {steps - 2}" in cluster.finished(started, tmp_path).screen or (
            steps == 2
        )
    digest = Run(tmp_path).summary["weights_sha256"]
    assert digest == run(net, "1 process").summary["weights_sha256"]


def test_a_killed_worker_is_named_and_the_run_resumes_to_the_same_bits(tmp_path):
    flags = [*_MLP, "--config.train.epochs=15", "--config.train.checkpoint_every_steps=1"]
    with (
        held.before(epoch=2) as hold,
        _mesh("model:2", 2, tmp_path / "mesh", *flags) as process,
    ):
        process.await_line("train      | step       3")
        os.kill(cluster.pid_of(process, Task("worker", 1)), signal.SIGKILL)
        hold.release()
        assert process.wait() == 0
    assert "worker 1" in process.said and "resuming at step" in process.said
    single = cluster.finished(cluster.training(tmp_path / "one", *flags), tmp_path / "one")
    digest = Run(tmp_path / "mesh").summary["weights_sha256"]
    assert digest == single.summary["weights_sha256"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mesh=model:3"], "`--mesh` must have a place for each of the 2 workers. Received"),
        (["--mesh=model:2,pipeline:2"], "`--mesh` must be model:M or data:D,model:M"),
        (
            ["--mesh=model:2", "--config.model.blocks=3"],
            "`model.blocks` must be a multiple of the 2 parts of the model in --mesh. Received: 3",
        ),
        (
            ["--mesh=model:2", "--config.sync.mode=parameters"],
            "`--mesh` is for replicas that agree in every step",
        ),
        (
            ["--mesh=model:2", "--config.optimizer.global_clipnorm=1"],
            "`optimizer.global_clipnorm` must be 0 with --mesh",
        ),
        (
            ["--mesh=model:2", "--config.sync.shard_optimizer=true"],
            "`sync.shard_optimizer` must be false with --mesh, as each task holds the slots of its part",
        ),
        (["--mesh=model:2", "--transport=tensorflow"], "`--mesh` needs --transport=direct"),
        (
            ["--mesh=model:2", "--config.optimizer.name=lamb"],
            "`optimizer.name` must be one that updates each number of a weight alone",
        ),
        (
            ["--mesh=model:2", "--config.model.sharding=hidden_7=column"],
            '`model.sharding` must name layers of the model that can be cut. Received: "hidden_7"',
        ),
    ],
)
def test_check_says_what_a_mesh_cannot_be(flags, message):
    environ = cluster.tf_config(cluster.clusters(worker=2)[0])
    with Process([*cluster.TRAINER, "check", *_BUILT_IN, *flags], environ) as checked:
        assert checked.wait() == 2
    assert message in checked.said and "Traceback" not in checked.said


def test_check_says_how_each_layer_is_held_and_its_bytes():
    environ = cluster.tf_config(cluster.clusters(worker=2)[0])
    flags = [*cluster.TRAINER, "check", *_BUILT_IN, "--mesh=model:2"]
    with Process(flags, environ) as checked:
        assert checked.wait() == 0
    # Weights and Adam's two moments in float32, and for each weight a step and a learning rate.
    numbers = 784 * 32 + 32 + 32 * 32 + 32 + 32 * 24 + 24 + 24 * 10 + 10
    assert f"4 model blocks, in 2 parts: {12 * numbers + 8 * 12:,} of" in checked.said
    assert "hidden_1: column" in checked.said and "output: row" in checked.said


def test_check_says_how_embeddings_are_held():
    environ = cluster.tf_config(cluster.clusters(worker=2)[0])
    flags = [*cluster.TRAINER, "check", *_WORDS, "--mesh=model:2"]
    flags += ["--config.model.sharding=places=replicated"]
    with Process(flags, environ) as checked:
        assert checked.wait() == 0
    scalars = 12  # Adam's step and learning rate.
    assert f"words: rows, {3 * 12 * 16 * 4 + scalars:,} bytes" in checked.said
    whole = 3 * 8 * 16 * 4 + scalars
    reason = "`model.sharding` has places=replicated"
    assert f"places: replicated, {whole:,} bytes ({reason})" in checked.said


def test_a_bad_mesh_ends_training_before_the_first_step(tmp_path):
    with _mesh("model:2", 2, tmp_path, *_BUILT_IN, "--config.optimizer.name=lamb") as process:
        assert process.wait() == 2
    assert "`optimizer.name` must be one that updates each number" in process.said
    assert "Traceback" not in process.said


@pytest.mark.long
@pytest.mark.cold
def test_a_model_that_fits_no_worker_under_a_limit_trains_on_two(tmp_path):
    limited = ["prlimit", "--data=2000000000"]
    flags = ["--config=wide_dense", "--config.train.steps=4", "--config.train.eval_every_epochs=0"]
    for workers, mesh in ((1, []), (2, ["--mesh=model:2"])):
        command = ["launch", f"--workers={workers}", "--max_restarts=0", "--"]
        command += [*flags, *mesh, f"--workdir={tmp_path / str(workers)}"]
        with Process([*cluster.TRAINER, *command], within=limited) as process:
            code = process.wait(600)
        assert (code == 0) == (workers == 2), process.said
