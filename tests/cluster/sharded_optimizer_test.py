"""Do workers that divide the optimizer's slots end with the bits of those that do not, in any layout?

Weights, slots and layer state are compared as the checkpoint has them: its format knows nothing of parts.
"""

import functools
import signal

import pytest

from tests.cluster import cluster, held, own_models
from tests.cluster.cluster import Run
from tests.paths import ROOT

SHARDED = "--config.sync.shard_optimizer=true"
DENSE = (
    "--config=digits_dense",
    "--config.model.hidden_units=37,21",  # Of which shares are no whole weights.
    "--config.optimizer.name=nadam",
    "--config.optimizer.weight_decay=0.01",
    "--config.optimizer.schedule=cosine",
    "--config.model.frozen_layers=hidden_2",
)
OWN = (  # With batch normalization and dropout.
    f"--config={ROOT / 'tests' / 'recipes' / 'cnn.py'}",
    "--config.data.train_examples=106",
)
OF_ALL = (
    "--config.train.steps=8",
    "--config.train.epochs=9",
    "--config.train.reduction_blocks=6",
    "--config.data.global_batch_size=48",
)
CASES = {"dense": DENSE, "own": OWN}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The finished run of a case on one process, run at the first use."""

    @functools.cache
    def once(case: str) -> Run:
        workdir = tmp_path_factory.mktemp(case) / "workdir"
        return cluster.finished(cluster.training(workdir, *CASES[case], *OF_ALL), workdir)

    return once


# Of six blocks three workers have two each, which are one subtree or two, and four have one or two.
@pytest.mark.parametrize("case, workers", [("dense", 2), ("dense", 4), ("own", 3)])
def test_workers_with_parts_of_the_slots_end_with_the_same_bits(case, workers, single, tmp_path):
    started = cluster.launching(tmp_path, *CASES[case], *OF_ALL, SHARDED, workers=workers)
    run = cluster.finished(started, tmp_path)
    assert f"each of {workers} workers holds a part of the optimizer's state" in run.screen
    own_models.assert_same_arrays(run, single(case))
    plain = cluster.launching(tmp_path / "plain", *CASES[case], *OF_ALL, workers=workers)
    whole = cluster.finished(plain, tmp_path / "plain")
    for name in ("agreements", "update_bytes"):
        assert run.summary[name] == whole.summary[name]


def test_a_run_moves_between_layouts_with_parts_and_without(tmp_path):
    """Killed with three workers that have parts, then stopped in each other layout."""
    flags = [*DENSE, "--config.train.steps=700", "--config.train.steps_per_loop=5"]
    sharded = functools.partial(cluster.launching, also=["--max_restarts=0"])
    moved = tmp_path / "moved"
    hold = held.before(epoch=3)
    with hold, sharded(moved, *flags, SHARDED, workers=3) as process:
        process.await_line("epoch   2.00")
        process.send(signal.SIGKILL)
        process.wait()
    for number, start in enumerate(
        (
            cluster.training,
            lambda *args: cluster.launching(*args, SHARDED),
            lambda *args: cluster.launching(*args, ps=2, workers=1),
            lambda *args: cluster.launching(*args, workers=3),
        )
    ):
        epoch = 2 * number + 4
        with held.before(epoch + 1), start(moved, *flags) as process:
            process.await_line(f"epoch {epoch:6.2f}")
            process.send(signal.SIGTERM)
            assert process.wait() == 75, process.said
        assert "resuming at step" in process.said
    run = cluster.finished(cluster.launching(moved, *flags, SHARDED, workers=2), moved)
    assert "resuming at step" in run.screen
    own_models.assert_same_arrays(
        run, cluster.finished(cluster.training(tmp_path / "one", *flags), tmp_path / "one")
    )


def test_parameter_servers_say_that_they_hold_parts_already(tmp_path):
    flags = (*DENSE, *OF_ALL, SHARDED)
    run = cluster.finished(cluster.launching(tmp_path, *flags, ps=1, workers=1), tmp_path)
    assert "the parameter servers hold the optimizer's state in parts already" in run.screen
    plain = tmp_path / "plain"
    own_models.assert_same_arrays(
        run, cluster.finished(cluster.training(plain, *DENSE, *OF_ALL, SHARDED), plain)
    )


def test_a_transport_that_adds_whole_gradients_is_refused(tmp_path):
    flags = (*DENSE, SHARDED, "--transport=tensorflow")
    with cluster.launching(tmp_path, *flags) as process:
        assert process.wait() == 2
    assert (
        "`sync.shard_optimizer` must be false with --transport=tensorflow, which adds whole gradients. "
        "Received: true; give --transport=direct, with one GPU per worker."
    ) in process.said
