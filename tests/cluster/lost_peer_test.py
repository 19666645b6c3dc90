"""Does a task that loses another say so and end, whenever that happens?"""

import signal
import time

import pytest

from tests.cluster import cluster

PEER_TIMEOUT_S = 8.0  # A living task is silent for seconds while TensorFlow starts its server.
SECONDS = 20.0  # TensorFlow's own waits would take minutes, or for ever.

# A task that answers the roll call as the real one would, and then meets its fate.
PEER = """
import json, os, signal, sys, threading

from strategies import roll_call
from strategies.cluster import ClusterSpec
from trainer import config, datasets, task

cluster = ClusterSpec.from_env()
recipe = config.resolve("digits_dense", {})
dataset = None if cluster.has_ps else datasets.load(recipe.data)
credentials = task.credentials(recipe, 1, dataset)
membership = roll_call.meet(cluster, credentials, 100)
print("met", flush=True)
if sys.argv[1]:
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])
threading.Event().wait()
"""


def _peer(spec, fate: str = "") -> cluster.Process:
    return cluster.Process(["-c", PEER, fate], cluster.tf_config(spec))


def _ends_naming(process: cluster.Process, lost: str, within_s: float) -> None:
    began = time.monotonic()
    assert process.wait() == 75, process.said
    assert time.monotonic() - began < within_s
    assert f"{lost} was lost" in process.error


@pytest.mark.parametrize("survivor", [0, 1])
@pytest.mark.parametrize(
    "fate, within_s", [("SIGKILL", SECONDS), ("SIGSTOP", SECONDS + PEER_TIMEOUT_S)]
)
def test_a_worker_lost_between_roll_call_and_first_step_is_named(
    survivor, fate, within_s, tmp_path
):
    tasks = cluster.clusters(worker=2)
    flags = f"--peer_timeout_s={PEER_TIMEOUT_S}"
    with (
        cluster.task(tasks[survivor], tmp_path, flags) as surviving,
        _peer(tasks[1 - survivor], fate) as lost,
    ):
        lost.await_line("met")
        _ends_naming(surviving, f"worker {1 - survivor}", within_s)


@pytest.mark.parametrize(
    "fate, within_s", [("SIGKILL", SECONDS), ("SIGSTOP", SECONDS + PEER_TIMEOUT_S)]
)
def test_a_server_lost_before_the_first_step_is_named_by_the_chief(fate, within_s, tmp_path):
    chief, worker, server = cluster.clusters(chief=1, worker=1, ps=1)
    with (
        cluster.task(chief, tmp_path, f"--peer_timeout_s={PEER_TIMEOUT_S}") as coordinating,
        cluster.task(worker, tmp_path),
        _peer(server, fate) as lost,
    ):
        lost.await_line("met")
        _ends_naming(coordinating, "ps 0", within_s)


def test_peers_that_beat_are_not_lost_however_long_the_start_takes(tmp_path):
    chief, worker, server = cluster.clusters(chief=1, worker=1, ps=1)
    flags = ("--peer_timeout_s=3", "--startup_timeout_s=10")
    # The peers answer and beat, but never start TensorFlow's servers.
    with cluster.task(chief, tmp_path, *flags) as waiting, _peer(worker), _peer(server):
        assert waiting.wait() == 75, waiting.said
        assert "no end came within 10 s while starting TensorFlow's servers" in waiting.error


def test_sigterm_is_heard_while_tensorflow_waits_for_a_server_that_never_starts(tmp_path):
    tasks = cluster.clusters(worker=2)
    with cluster.task(tasks[0], tmp_path) as waiting, _peer(tasks[1]) as silent:
        silent.await_line("met")
        time.sleep(1)  # Into TensorFlow's wait, which tells nobody that it began.
        began = time.monotonic()
        waiting.send(signal.SIGTERM)
        assert waiting.wait() == 75, waiting.said
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_killed_in_mid_run_is_named_by_the_other(lost, tmp_path):
    flags = ("--config.train.steps=1000000", "--config.train.eval_every_epochs=0")
    specs = cluster.clusters(worker=2)
    with (
        cluster.task(specs[lost], tmp_path, *flags) as leaving,
        cluster.task(specs[1 - lost], tmp_path, *flags) as surviving,
    ):
        surviving.await_line("epoch   2.00")
        leaving.send(signal.SIGKILL)
        _ends_naming(surviving, f"worker {lost}", SECONDS)
