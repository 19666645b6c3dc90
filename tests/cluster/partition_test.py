"""Has a run on divided data the same bits on any cluster and after a stop, and its part of each share?"""

import re
import signal

import numpy as np
import pytest

from tests.cluster import cluster, held
from trainer.config import load as config_load
from trainer.data import registry
from trainer.order import partition
from trainer.order.partitioned_order import PartitionedOrder

STEPS, BATCH = 60, 64
FIELDS = {"data.partition": "kmeans", "data.partitions": "5", "train.steps": str(STEPS)}
FLAGS = (
    *(f"--config.{name}={value}" for name, value in FIELDS.items()),
    "--config.train.steps_per_loop=3",
    "--config.train.checkpoint_every_steps=12",
    "--config.train.eval_every_epochs=0",
    "--config.train.log_examples=true",
)


def _consumed(run):
    """The examples of each step, in the order in which its replicas have them."""
    steps: dict[int, list[int]] = {}
    for _, records in sorted(run.examples.items()):
        for step, examples in records:
            steps.setdefault(step, []).extend(examples)
    return steps


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("single")
    return cluster.finished(cluster.training(workdir, *FLAGS), workdir)


def test_each_step_takes_from_each_share_its_part(single):
    config = config_load.resolve("digits_dense", FIELDS)
    shares = partition.of(config, registry.load(config.data))
    sizes = np.array(shares.sizes)
    assert single.summary["share_sizes"] == shares.sizes
    order = PartitionedOrder(shares.shares, BATCH, config.train.seed)
    consumed = _consumed(single)
    assert [*consumed] == [*range(STEPS)]
    for step, examples in consumed.items():
        batch = order.step_batch(step)
        assert examples == batch[batch >= 0].tolist()
        parts = np.bincount(shares.assignment[examples], minlength=len(sizes))
        assert np.abs(parts - len(examples) * sizes / sizes.sum()).max() <= 3


def test_check_describes_the_shares(single):
    with cluster.Process(
        [*cluster.TRAINER, "check", f"--workdir={single.workdir}", *FLAGS]
    ) as process:
        assert process.wait() == 0, process.said
    sizes = single.summary["share_sizes"]
    described = f"ok    shares    5 shares of {min(sizes)} to {max(sizes)} examples, k-means on 50 "
    assert described in process.said and "divergence of the labels 0." in process.said


def test_workers_and_a_parameter_server_end_with_the_bits_of_one_process(single, tmp_path):
    for name, layout in {"workers": {"workers": 2}, "servers": {"workers": 1, "ps": 1}}.items():
        workdir = tmp_path / name
        run = cluster.finished(cluster.launching(workdir, *FLAGS, **layout), workdir)
        assert run.summary["weights_sha256"] == single.summary["weights_sha256"]
        record = (workdir / "partition" / "shares.json").read_text()
        assert record == (single.workdir / "partition" / "shares.json").read_text()


def test_a_run_that_was_stopped_has_the_same_shares_or_is_refused(single, tmp_path):
    hold = held.before(epoch=2)
    with hold, cluster.launching(tmp_path, *FLAGS, workers=2) as process:
        process.await_line("epoch   0.50")
        process.send(signal.SIGTERM)
        code = process.wait()
    assert code == 75 and re.search(r"stopped at step \d+", process.said), process.said
    record = tmp_path / "partition" / "shares.json"
    content = record.read_text()
    # Another machine's processor may find other clusters: the recorded shares then cannot be made again.
    other = re.sub(r'"sha256": "\w', '"sha256": "x', content)
    record.write_text(other)
    with cluster.training(tmp_path, *FLAGS) as process:
        assert process.wait() == 2
    assert process.error.startswith("`--workdir` was begun with other shares of the data, sha256 x")
    record.write_text(content)
    with cluster.training(tmp_path, *FLAGS, "--config.data.partitions=6") as process:
        assert process.wait() == 2
    assert "begun with another config: `data.partitions` was 5. Received: 6" in process.error
    run = cluster.finished(cluster.training(tmp_path, *FLAGS), tmp_path)
    assert "resuming at step" in run.screen
    assert run.summary["weights_sha256"] == single.summary["weights_sha256"]
    assert _consumed(run) == _consumed(single)
