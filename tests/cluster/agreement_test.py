"""Do replicas that train apart end with the same bits on any number of processes, and through kills?

Each case is a mode with more logical replicas than workers, which do not divide them evenly: averaging in
an own model with batch normalization and dropout, whose replicas keep the state of Adam; an interval that
changes, with averaged slots and an outer optimizer; and rounds of clients with unequal shares.
"""

import functools
import json
import pathlib
import signal

import numpy as np
import pytest

from tests.cluster import cluster, held
from tests.cluster.cluster import Run
from tests.paths import ROOT
from trainer.config.schema import ExperimentConfig
from trainer.data import registry

_OF_ALL = ("--config.train.steps_per_loop=1", "--config.train.checkpoint_every_steps=1")
_AVERAGING = (
    f"--config={ROOT / 'tests' / 'recipes' / 'cnn.py'}",
    "--config.data.train_examples=400",
    "--config.data.global_batch_size=40",
    "--config.train.epochs=8",
    "--config.sync.mode=parameters",
    "--config.sync.replicas=4",
    "--config.sync.every_steps=3",
)
_DYNAMIC = (
    "--config=digits_dense",
    "--config.data.global_batch_size=60",
    "--config.train.epochs=8",
    "--config.sync.mode=dynamic",
    "--config.sync.replicas=5",
    "--config.sync.every_steps=2",
    "--config.sync.min_steps=1",
    "--config.sync.max_steps=8",
    "--config.sync.slots=average",
    "--config.sync.outer=nesterov",
    "--config.sync.outer_learning_rate=0.7",
    "--config.sync.outer_momentum=0.5",
)
_FEDERATED = (
    "--config=digits_dense",
    "--config.optimizer.name=sgd",
    "--config.optimizer.learning_rate=0.1",
    "--config.data.global_batch_size=10",
    "--config.data.partition=dirichlet",
    "--config.data.partitions=20",
    "--config.train.epochs=12",
    "--config.sync.mode=federated",
    "--config.sync.outer=sgd",
    "--config.sync.outer_momentum=0.5",
    "--config.federated.clients_per_round=7",
    "--config.federated.local_epochs=2",
)
# As with two GPUs: each device has a part of the replicas.
_TWO_DEVICES = """
import tensorflow as tf
from strategies.devices import select
from trainer.__main__ import main

select.local_devices = lambda count: ["CPU:0", "CPU:1"]
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
main()
"""
# The flags of a case, and how many workers share its replicas.
CASES = {
    "parameters": (_AVERAGING, 3),
    "dynamic": (_DYNAMIC, 2),
    "federated": (_FEDERATED, 4),
}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The finished run of a case on one process, run at the first use."""

    @functools.cache
    def once(case: str) -> Run:
        workdir = tmp_path_factory.mktemp(case) / "workdir"
        flags, _ = CASES[case]
        return cluster.finished(cluster.training(workdir, *flags), workdir)

    return once


def _assert_same_bits(run: Run, single: Run) -> None:
    for name in ("weights_sha256", "test_loss", "test_accuracy", "agreements", "update_bytes"):
        assert run.summary[name] == single.summary[name], name
    assert run.summary["sync_mode"] == single.summary["sync_mode"]


def _last_report(workdir: pathlib.Path) -> dict:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "train"][-1]


def test_an_own_model_has_the_same_bits_on_three_workers(single, tmp_path):
    flags, workers = CASES["parameters"]
    started = cluster.launching(
        tmp_path, *flags, "--config.train.log_examples=true", workers=workers
    )
    run = cluster.finished(started, tmp_path)
    _assert_same_bits(run, single("parameters"))
    # A worker carries a run of the replicas, each of which reads its own part of the batches.
    assert [*run.examples] == [0, 1, 2, 3]
    one_step = [consumed[0][1] for consumed in run.examples.values()]
    assert [len(batch) for batch in one_step] == [10] * 4
    assert len({example for batch in one_step for example in batch}) == 40


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_killed_and_moved_ends_with_the_same_bits(case, single, tmp_path):
    """From one process to several, and back; a loop is one round here and several there."""
    flags, workers = CASES[case]
    hold = held.before(epoch=3)
    with hold, cluster.training(tmp_path, *flags, *_OF_ALL) as process:
        process.await_line("epoch   2.00")
        process.send(signal.SIGKILL)
        process.wait()
    hold = held.before(epoch=5)
    with hold, cluster.launching(tmp_path, *flags, *_OF_ALL, workers=workers) as process:
        process.await_line("epoch   4.00")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    assert "resuming at step" in process.said
    run = cluster.finished(cluster.training(tmp_path, *flags), tmp_path)
    assert "resuming at step" in run.screen
    _assert_same_bits(run, single(case))
    left = {"time", "examples_per_s"}
    found, expected = _last_report(tmp_path), _last_report(single(case).workdir)
    assert {name: value for name, value in found.items() if name not in left} == {
        name: value for name, value in expected.items() if name not in left
    }


def test_several_devices_of_a_process_give_the_same_bits(single, tmp_path):
    flags, _ = CASES["federated"]
    process = cluster.Process(["-c", _TWO_DEVICES, f"--workdir={tmp_path}", *flags])
    _assert_same_bits(cluster.finished(process, tmp_path), single("federated"))


def test_examples_stay_on_the_worker_that_has_them(tmp_path):
    """Two workers with half of the data each end as one process with all of it does, where all clients
    train in each round."""
    dataset = registry.load(ExperimentConfig().data)
    halves = [slice(0, 700), slice(700, 1400)]
    wholes = [*halves, slice(0, 1400)]
    files = [tmp_path / f"{name}.npz" for name in ("first", "second", "all")]
    for file, part in zip(files, wholes, strict=True):
        arrays = {"x_train": dataset.train.features[part], "y_train": dataset.train.targets[part]}
        tests = {"x_test": dataset.test.features, "y_test": dataset.test.targets}
        np.savez(file, **arrays, **tests)
    rounds = ("--config=digits_dense", "--config.sync.mode=federated", "--config.train.epochs=5",
              "--config.federated.clients_per_round=10", "--config.data.global_batch_size=20",
              "--config.data.partition=sequential", "--config.optimizer.name=sgd",
              "--config.optimizer.learning_rate=0.1")  # fmt: skip
    own = (*rounds, "--config.federated.own_data=true", "--config.data.partitions=5")
    tasks = [
        cluster.task(worker, tmp_path / "own", *own, f"--config.data.source=npz:{file}")
        for worker, file in zip(cluster.clusters(worker=2), files[:2], strict=True)
    ]
    with tasks[0] as leader, tasks[1] as other:
        assert leader.wait() == other.wait() == 0, leader.said + other.said
    found = Run(tmp_path / "own", leader.said)
    flags = *rounds, "--config.data.partitions=10", f"--config.data.source=npz:{files[2]}"
    expected = cluster.finished(cluster.training(tmp_path / "all", *flags), tmp_path / "all")
    _assert_same_bits(found, expected)


def test_the_interval_changes_is_logged_and_reported(single):
    run = single("dynamic")
    changes = [line for line in run.screen.splitlines() if "sync | step" in line]
    assert any("is above 0.01: an agreement every" in line for line in changes)
    assert any("is below half of 0.01: an agreement every" in line for line in changes)
    lines = (run.workdir / "metrics.jsonl").read_text().splitlines()
    reports = [event for event in map(json.loads, lines) if event["event"] == "train"]
    assert all(event["sync_interval"] in (1, 2, 4, 8) and event["spread"] > 0 for event in reports)
    # Every 2 steps there would be 13 in an epoch.
    assert len({event["agreements"] % 13 for event in reports}) > 1


def test_evaluate_gives_the_metrics_of_the_agreed_weights(single):
    run = single("parameters")
    with cluster.Process([*cluster.TRAINER, "evaluate", f"--workdir={run.workdir}"]) as process:
        assert process.wait() == 0, process.said
    found = cluster.printed_json(process)
    assert found["loss"] == run.summary["test_loss"]
    assert found["accuracy"] == run.summary["test_accuracy"]


def test_more_workers_than_replicas_are_refused_before_they_train(tmp_path):
    flags = ["--config.sync.mode=parameters", "--config.sync.replicas=1"]
    with cluster.launching(tmp_path / "workdir", *flags, workers=2) as process:
        assert process.wait() == 2
    assert (
        "`sync.replicas` must be at least the number of workers, each of which carries one or more. "
        "Received: 1 for 2 workers; raise it, or start fewer."
    ) in process.said
