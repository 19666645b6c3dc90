"""Do runs end with the same bits however blocks are divided among workers, and wherever they are moved?

Batches of 48 examples in 8 blocks, which are not a power of two for each of 3 or 5 workers, on 106
examples: the last batch of an epoch has 10, so that whole blocks are padding.
"""

import functools
import itertools
import os
import re
import signal

import pytest

from benchmarks.throttle import throttled
from strategies.cluster.spec import Task
from tests.cluster import cluster, own_models
from tests.cluster.cluster import Run
from tests.paths import ROOT

BLOCKS = "--config.train.reduction_blocks=8"
DENSE = (
    "--config=digits_dense",
    "--config.data.train_examples=106",
    "--config.data.global_batch_size=48",
    "--config.train.steps=6",
)
CNN = (f"--config={ROOT / 'tests' / 'recipes' / 'cnn.py'}",)
KINDS = {"dense": DENSE, "cnn": CNN, "cnn, global": (*CNN, "--config.model.batch_norm=global")}


def _weighted(*speeds: float) -> tuple[str, str]:
    shown = ",".join(map(str, speeds))
    return "--config.data.balance=weighted", f"--config.data.worker_speeds={shown}"


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The run of a kind on one process, run at the first use."""

    @functools.cache
    def once(kind: str) -> Run:
        workdir = tmp_path_factory.mktemp("single") / "workdir"
        return cluster.finished(cluster.training(workdir, *KINDS[kind], BLOCKS), workdir)

    return once


@pytest.mark.parametrize(
    "kind, workers, flags",
    [
        ("dense", 5, ()),  # 2, 2, 2, 1 and 1 blocks.
        ("dense", 2, _weighted(2, 1)),  # 5 and 3.
        ("cnn", 3, _weighted(1, 2.5, 1)),  # 2, 4 and 2, of which each is one subtree.
        (
            "cnn, global",
            3,
            (),
        ),  # 3, 3 and 2: the second has two subtrees, whose sums it adds in a step.
        pytest.param("cnn", 5, (), marks=pytest.mark.long),
        pytest.param("dense", 3, (*_weighted(1, 3, 1), "--devices=2"), marks=pytest.mark.long),
    ],
)
def test_any_division_of_the_blocks_ends_with_the_bits_of_one_process(
    kind, workers, flags, single, tmp_path
):
    launched = cluster.launching(tmp_path, *KINDS[kind], BLOCKS, *flags, workers=workers)
    own_models.assert_same_bits(cluster.finished(launched, tmp_path), single(kind))


MOVING = (
    "--config=digits_dense",
    "--config.model.hidden_units=256,256",
    BLOCKS,
    "--config.train.checkpoint_every_steps=50",
    "--config.train.eval_every_epochs=10",
)
UNTIL_STOPPED = "--config.train.steps=1000000"


def test_moved_blocks_a_kill_and_fewer_workers_change_no_bit(tmp_path):
    """Three workers, one of them slow; then one is killed; then two resume, with other shares."""
    workdir, measured = tmp_path / "run", "--config.data.balance=measured"
    with cluster.launching(workdir, *MOVING, UNTIL_STOPPED, measured, workers=3) as launched:
        launched.await_line("train      |")
        with throttled(cluster.pid_of(launched, Task("worker", 1)), speed=0.05):
            _await_fewer_blocks(launched)
        launched.await_lines("train      |", 3, after=len(launched.screen))
        os.kill(cluster.pid_of(launched, Task("worker", 2)), signal.SIGKILL)
        launched.await_line("resuming at step")
        launched.await_lines("train      |", 3, after=len(launched.screen))
        launched.send(signal.SIGTERM)
        assert launched.wait() == 75, launched.said
    steps = int(re.findall(r"stopped at step (\d+)", launched.said)[-1]) + 30
    length = f"--config.train.steps={steps}"
    resumed = cluster.launching(workdir, *MOVING, length, *_weighted(3, 1), workers=2)
    done = cluster.finished(resumed, workdir)
    assert "resuming at step" in done.screen
    one = cluster.training(tmp_path / "one", *MOVING, length)
    own_models.assert_same_bits(done, cluster.finished(one, tmp_path / "one"), steps)


def _await_fewer_blocks(launched: cluster.Process) -> None:
    """Returns once worker 1 has given away some of its 3 blocks."""
    for decisions in itertools.count(1):
        line = launched.await_lines("balance    |", decisions)[-1]
        if re.search(r"worker 1 blocks [12] ", line):
            return


def test_workers_that_tensorflow_adds_for_are_refused_and_check_says_so(tmp_path):
    flags = ["--transport=tensorflow", "--config.data.balance=measured"]
    environ = cluster.tf_config(cluster.clusters(worker=2)[0])
    for verb in ((), ("check",)):
        with cluster.Process([*cluster.TRAINER, *verb, *flags], environ) as process:
            assert process.wait() == 2
        assert "`data.balance` must be equal where workers have no blocks" in process.said
        assert "Traceback" not in process.said
