"""Do the same examples from other files, on other clusters, end in the same bits? After a kill, too?"""

import itertools
import signal
import time

import numpy as np
import pytest
from PIL import Image

from tests import source_files
from tests.cluster import cluster
from tests.cluster.parity_test import LAYOUTS

FLAGS = [
    "--config.train.epochs=2", "--config.data.global_batch_size=32", "--config.train.log_examples",
    "--config.model.hidden_units=16", "--config.optimizer.learning_rate=0.02",
]  # fmt: skip
SHOWN = [("csv", "2 workers", "resident"), ("arrayrecord", "2 ps and worker", "stream")]
# `stream`: examples are read from the mapped columns.
CASES = [
    pytest.param(*case, marks=[] if case in SHOWN else pytest.mark.long)
    for case in itertools.product(
        ("npy", "csv", "parquet", "jsonl", "tfrecord", "arrayrecord"),
        ("1 device", "2 workers", "2 ps and worker"),
        ("resident", "stream"),
    )
]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run on one process, of arrays that are read into memory."""
    folder = tmp_path_factory.mktemp("single")
    source = source_files.npz(folder, source_files.examples())
    process = cluster.training(folder / "w", f"--config.data.source={source}", *FLAGS)
    return cluster.finished(process, folder / "w")


def _per_step(run: cluster.Run) -> dict[int, list[int]]:
    """The examples of each step, over all replicas in their order."""
    found: dict[int, list[int]] = {}
    for records in run.examples.values():
        for step, examples in records:
            found.setdefault(step, []).extend(examples)
    return found


@pytest.mark.parametrize("kind, layout, placement", CASES)
def test_every_kind_and_cluster_ends_with_the_bits_of_one_process(
    kind, layout, placement, single, tmp_path
):
    source = source_files.FORMATS[kind](tmp_path, source_files.examples())
    flags = [f"--config.data.source={source}", f"--config.data.dir={tmp_path / 'prepared'}"]
    with cluster.Process([*cluster.TRAINER, "data", *flags]) as process:
        assert process.wait() == 0, process.said
    assert "classes: 0 " in process.said and "sha256" in process.said
    _, start = LAYOUTS[layout]
    flags += [*FLAGS, f"--config.data.placement={placement}"]
    run = cluster.finished(start(tmp_path / "w", *flags), tmp_path / "w")
    assert run.summary["weights_sha256"] == single.summary["weights_sha256"]
    assert run.summary["test_accuracy"] == single.summary["test_accuracy"] > 0.5
    assert _per_step(run) == _per_step(single)


def test_workers_with_different_examples_refuse_to_train_together(tmp_path):
    tasks = []
    for seed, worker in enumerate(cluster.clusters(worker=2)):
        (tmp_path / str(seed)).mkdir()
        source = source_files.npz(tmp_path / str(seed), source_files.examples(seed))
        tasks.append(cluster.task(worker, tmp_path / "w", f"--config.data.source={source}"))
    with tasks[0] as leader, tasks[1] as other:
        assert leader.wait() == other.wait() == 2
    assert leader.error.startswith("`data` must be the same on every task. Received: ")


# It has half of the pieces before it is killed, and never all.
_PREPARING = """
import threading
from trainer.data.prepared import prepare
from trainer.__main__ import main

run = prepare._run

def run_half(jobs, timeout_s):
    yield from run(jobs[:5], timeout_s)
    threading.Event().wait()

prepare._run = run_half
main()
"""


@pytest.mark.cold
def test_a_preparation_that_was_killed_continues(tmp_path):
    rng = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    for kind in "ab":
        (pictures / kind).mkdir(parents=True)
        for index in range(1200):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(pictures / kind / f"{index}.png")
    command = [*cluster.TRAINER, "data", f"images:{pictures}"]
    prepared = tmp_path / "prepared"
    flags = [f"--config.data.dir={prepared}"]
    with cluster.Process(["-c", _PREPARING, *command[2:], *flags]) as process:
        _await_pieces(prepared, 3)
        process.send(signal.SIGKILL)
        process.wait()
    assert not [path for path in prepared.glob("*") if path.name[0] != "."]
    with cluster.Process([*command, *flags]) as process:
        assert process.wait() == 0, process.said
    assert "of 10 pieces are there already" in process.said
    whole = tmp_path / "whole"
    with cluster.Process([*command, f"--config.data.dir={whole}"]) as process:
        assert process.wait() == 0, process.said
    columns = [next(folder.glob("images-*/all-0.npy")) for folder in (prepared, whole)]
    assert columns[0].read_bytes() == columns[1].read_bytes()
    assert not [*prepared.glob(".building-*")]


def _await_pieces(folder, wanted: int) -> None:
    deadline = time.monotonic() + cluster.PATIENCE_S
    while len([*folder.glob(".building-*/all-*")]) < wanted:
        assert time.monotonic() < deadline, "no pieces were written"
        time.sleep(0.01)
