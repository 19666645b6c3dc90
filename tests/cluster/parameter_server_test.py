"""Do the parameter servers apply every planned step exactly once?"""

import json
import signal
import sys

import numpy as np
import pytest

from tests.cluster import cluster, held
from tests.cluster.cluster import Run
from trainer.order.sample_order import PADDING, SampleOrder

EPOCHS, STEPS_PER_EPOCH, TRAIN_EXAMPLES, TEST_EXAMPLES = 6, 24, 1497, 300
FLAGS = (
    f"--config.train.epochs={EPOCHS}",
    "--config.train.eval_every_epochs=0",
    "--config.train.log_examples=true",
)
WINDOW = "--config.sync.window_steps=7"  # An epoch of 24 steps ends with a window of 3.
# An asynchronous window of 2 or 3 steps is about one window old per other worker. So the run is a few
# steps behind a synchronous one, and after six epochs 24 steps gain under 0.02.
STALENESS_ALLOWANCE = 0.02


@pytest.fixture(scope="module")
def synchronous(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("synchronous")
    return cluster.finished(cluster.training(workdir, *FLAGS), workdir)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((1, 2), id="1 ps 2 workers", marks=pytest.mark.long),
        pytest.param((2, 3), id="2 ps 3 workers"),
    ],
)
def asynchronous(request, tmp_path_factory):
    servers, workers = request.param
    workdir = tmp_path_factory.mktemp("asynchronous")
    process = cluster.launching(workdir, *FLAGS, workers=workers, ps=servers)
    return cluster.finished(process, workdir)


def test_exactly_the_planned_steps_are_applied(asynchronous):
    assert asynchronous.summary["steps"] == EPOCHS * STEPS_PER_EPOCH
    assert asynchronous.iterations == {
        EPOCHS * STEPS_PER_EPOCH
    }  # Adam's own count, on the servers.


def test_the_windows_follow_the_sample_order(asynchronous):
    order = SampleOrder(TRAIN_EXAMPLES, 64, seed=0)
    (consumed,) = asynchronous.examples.values()
    assert [step for step, _ in consumed] == list(range(EPOCHS * STEPS_PER_EPOCH))
    for step, batch in consumed:
        expected = order.step_batch(step)
        assert batch == expected[expected != PADDING].tolist()
    for epoch in range(EPOCHS):
        steps = consumed[epoch * STEPS_PER_EPOCH : (epoch + 1) * STEPS_PER_EPOCH]
        visited = [example for _, batch in steps for example in batch]
        assert sorted(visited) == list(range(TRAIN_EXAMPLES))


def test_the_accuracy_is_the_synchronous_one_within_noise(asynchronous, synchronous):
    accuracy = synchronous.summary["test_accuracy"]
    # Of the difference of two proportions. It is smaller still, as both are of the same examples.
    standard_error = np.sqrt(2 * accuracy * (1 - accuracy) / TEST_EXAMPLES)
    band = 3 * standard_error + STALENESS_ALLOWANCE
    assert asynchronous.summary["test_accuracy"] == pytest.approx(accuracy, abs=band)
    assert accuracy - band > 0.8  # Else the band would accept any result.


def test_a_parameter_server_run_logs_no_error_and_no_warning(asynchronous):
    output = asynchronous.screen.lower()
    assert "error" not in output and "warning" not in output, asynchronous.screen[-3000:]


def _events(run):
    lines = (run.workdir / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "train"]


def test_the_staleness_of_pushes_is_reported(asynchronous):
    for event in _events(asynchronous):
        assert 0 <= event["staleness"] <= event["max_staleness"]
        assert event["window_steps"] == 2  # A twelfth of an epoch: four for each of three workers.
    assert any(event["staleness"] for event in _events(asynchronous))


ONE_AFTER_THE_OTHER = "--config.sync.max_staleness=0"


def test_without_staleness_two_workers_end_with_the_bits_of_a_single_process(tmp_path):
    flags = ("--config.train.epochs=2", "--config.train.steps_per_loop=12", WINDOW)
    single = cluster.finished(
        cluster.training(tmp_path / "single", *flags[:2]), tmp_path / "single"
    )
    process = cluster.launching(tmp_path / "served", *flags, ONE_AFTER_THE_OTHER, workers=2, ps=2)
    served = cluster.finished(process, tmp_path / "served")
    assert served.summary["weights_sha256"] == single.summary["weights_sha256"]
    assert {event["max_staleness"] for event in _events(served)} == {0}
    assert {event["window_steps"] for event in _events(served)} == {7}


@pytest.mark.parametrize(
    "mode, more", [("async", []), ("async_window", ["--config.sync.window_ms=5"])]
)
def test_staleness_stays_within_its_bound(mode, more, tmp_path):
    flags = ("--config.train.epochs=2", f"--config.sync.mode={mode}", *more)
    process = cluster.launching(tmp_path, *flags, "--config.sync.max_staleness=2", workers=3, ps=1)
    run = cluster.finished(process, tmp_path)
    assert run.iterations == {2 * STEPS_PER_EPOCH}
    assert run.summary["sync_mode"] == mode
    assert all(event["max_staleness"] <= 2 for event in _events(run))
    assert mode == "async_window" or {one["window_steps"] for one in _events(run)} == {1}


@pytest.mark.parametrize("servers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_one_worker_ends_with_the_bits_of_a_single_process(servers, tmp_path):
    flags = ("--config.train.epochs=2", WINDOW)
    single = cluster.finished(cluster.training(tmp_path / "single", *flags), tmp_path / "single")
    process = cluster.launching(tmp_path / "served", *flags, workers=1, ps=servers)
    served = cluster.finished(process, tmp_path / "served")
    assert served.summary["strategy"] == "parameter_server"
    for name in ("weights_sha256", "test_loss"):
        assert served.summary[name] == single.summary[name]
    assert served.iterations == {2 * STEPS_PER_EPOCH}


@pytest.mark.long
def test_a_short_last_window_counts_its_own_steps_only(tmp_path):
    process = cluster.launching(tmp_path, *FLAGS, WINDOW, workers=2, ps=2)
    run = cluster.finished(process, tmp_path)
    assert run.summary["steps"] == EPOCHS * STEPS_PER_EPOCH
    assert run.iterations == {EPOCHS * STEPS_PER_EPOCH}
    (consumed,) = run.examples.values()
    assert [step for step, _ in consumed] == list(range(EPOCHS * STEPS_PER_EPOCH))


def test_no_step_is_lost_with_a_killed_worker(tmp_path):
    steps = 1000
    flags = (f"--config.train.steps={steps}", "--config.train.eval_every_epochs=0", WINDOW)
    chief, first, second, server = cluster.clusters(chief=1, worker=2, ps=1)
    with (
        held.before(epoch=5) as hold,
        cluster.task(server, tmp_path, *flags) as serving,
        cluster.task(first, tmp_path, *flags) as staying,
        cluster.task(second, tmp_path, *flags) as leaving,
        cluster.task(chief, tmp_path, *flags) as coordinating,
    ):
        coordinating.await_line("epoch   1.00")
        leaving.send(signal.SIGKILL)
        hold.release()
        coordinating.await_line("worker 1 was lost")
        assert coordinating.wait() == 0, coordinating.said
        assert staying.wait() == serving.wait() == 0
    run = Run(tmp_path)
    assert run.summary["steps"] == steps
    assert run.iterations == {steps}


ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_machine_with_one_core_does_not_wait_forever(tmp_path):
    flags = ["--workers=2", "--ps=1", "--", f"--workdir={tmp_path}", "--config.train.epochs=1"]
    one_core = [sys.executable, "-c", ON_ONE_CORE]
    process = cluster.Process([*cluster.TRAINER, "launch", *flags], within=one_core)
    assert cluster.finished(process, tmp_path).iterations == {STEPS_PER_EPOCH}
