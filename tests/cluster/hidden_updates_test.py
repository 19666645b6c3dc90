"""Do federated runs with hidden, clipped and noisy updates end with the same bits in every layout?"""

import json

import pytest

from tests.cluster import cluster, own_models

FLAGS = [
    "--config.sync.mode=federated",
    "--config.data.partition=random",
    "--config.data.partitions=24",
    "--config.federated.clients_per_round=6",
    "--config.optimizer.name=sgd",
    "--config.optimizer.learning_rate=0.1",
    "--config.data.global_batch_size=16",
    "--config.train.steps=4",
    "--config.privacy.clip_norm=0.5",
    "--config.privacy.noise_multiplier=2",
]
HIDDEN = {
    "masked": "--config.privacy.secure_aggregation=true",
    "encrypted": "--config.privacy.homomorphic=true",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run in a layout, run at the first use."""
    return own_models.runner(tmp_path_factory, lambda how: [*FLAGS, HIDDEN[how]])


@pytest.mark.parametrize("how, layout", [("masked", "3 workers"), ("encrypted", "2 workers")])
def test_workers_end_with_the_bits_of_one_process(how, layout, run):
    single, several = run("masked", "1 device"), run(how, layout)
    for name in ("weights_sha256", "test_loss", "epsilon"):
        assert several.summary[name] == single.summary[name]


def test_epsilon_is_that_of_clients(run):
    single = run("masked", "1 device")
    lines = (single.workdir / "metrics.jsonl").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "eval"]
    assert events[-1]["epsilon"] == single.summary["epsilon"] > 1


def test_coded_updates_and_what_they_leave_out_are_the_same_on_workers_and_after_a_kill(tmp_path):
    flags = [
        "--config.data.train_examples=256",
        "--config.train.epochs=2",
        "--config.sync.mode=parameters",
        "--config.sync.every_steps=1",
        "--config.sync.compression=topk",
        "--config.sync.topk_share=0.05",
    ]
    single = cluster.finished(cluster.training(tmp_path / "one", *flags), tmp_path / "one")
    several = cluster.launching(tmp_path / "three", *flags, workers=3)
    resumed = own_models.killed_and_resumed(tmp_path / "killed", flags)
    for other in (cluster.finished(several, tmp_path / "three"), resumed):
        for name in ("weights_sha256", "update_bytes", "test_loss"):
            assert other.summary[name] == single.summary[name]
