"""Does a task that loses a peer name it and end, whenever that happens?"""

import contextlib
import os
import signal
import time

import pytest

from tests.cluster import cluster

PEER_TIMEOUT_S = 8.0  # A living task is silent for seconds while TensorFlow starts its server.
SECONDS = 60.0  # On a busy machine. TensorFlow's own waits would take minutes, or forever.
NEVER_S = 600.0  # Where the end of a connection must be enough.

# A task that takes part in the roll call as a real one does, then sends itself a signal, or waits.
PEER = """
import json, os, signal, sys, threading

from strategies import choose
from strategies.rendezvous import roll_call
from strategies.cluster import tf_config
from trainer.task import fingerprint
from trainer.config import load as config_load
from trainer.data import registry

cluster = tf_config.from_env()
recipe = config_load.resolve("digits_dense", {})
dataset = None if cluster.has_ps else registry.load(recipe.data)
choice = choose.with_transport(choose.choose(cluster), sys.argv[2], ["CPU:0"])
carried = fingerprint.compute(recipe, choice, 1, dataset)
membership = roll_call.meet(cluster, carried, 100)
print("met", flush=True)
if sys.argv[1]:
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])
threading.Event().wait()
"""


def _peer(spec, fate: str = "", transport: str = "auto") -> cluster.Process:
    return cluster.Process(["-c", PEER, fate, transport], cluster.tf_config(spec))


def _ends_naming(process: cluster.Process, lost: str) -> None:
    assert process.wait(SECONDS) == 75, process.said
    assert f"{lost} was lost" in process.error


@pytest.mark.parametrize("transport", ["direct", "tensorflow"])
@pytest.mark.parametrize("survivor", [0, 1])
@pytest.mark.parametrize(
    "fate, silence_s",
    [
        ("SIGKILL", NEVER_S),
        pytest.param("SIGSTOP", PEER_TIMEOUT_S, marks=pytest.mark.long),
    ],
)
def test_a_worker_lost_between_roll_call_and_first_step_is_named(
    transport, survivor, fate, silence_s, tmp_path
):
    tasks = cluster.clusters(worker=2)
    flags = (f"--peer_timeout_s={silence_s}", f"--transport={transport}")
    with (
        cluster.task(tasks[survivor], tmp_path, *flags) as surviving,
        _peer(tasks[1 - survivor], fate, transport) as lost,
    ):
        lost.await_line("met")
        _ends_naming(surviving, f"worker {1 - survivor}")


@pytest.mark.parametrize(
    "fate, silence_s",
    [
        ("SIGKILL", NEVER_S),
        pytest.param("SIGSTOP", PEER_TIMEOUT_S, marks=pytest.mark.long),
    ],
)
def test_a_server_lost_before_the_first_step_is_named_by_the_chief(fate, silence_s, tmp_path):
    chief, worker, server = cluster.clusters(chief=1, worker=1, ps=1)
    with (
        cluster.task(chief, tmp_path, f"--peer_timeout_s={silence_s}") as coordinating,
        cluster.task(worker, tmp_path),
        _peer(server, fate) as lost,
    ):
        lost.await_line("met")
        _ends_naming(coordinating, "ps 0")


@pytest.mark.long
def test_peers_that_send_beats_are_not_lost_however_long_the_start_takes(tmp_path):
    chief, worker, server = cluster.clusters(chief=1, worker=1, ps=1)
    flags = ("--peer_timeout_s=8", "--startup_timeout_s=20")
    # The peers answer and beat, but never start TensorFlow's servers.
    with cluster.task(chief, tmp_path, *flags) as waiting, _peer(worker), _peer(server):
        assert waiting.wait() == 75, waiting.said
        assert "timed out after 20 s while starting TensorFlow's servers" in waiting.error


@pytest.mark.parametrize("transport", ["direct", "tensorflow"])
def test_sigterm_ends_a_worker_that_waits_for_one_that_never_connects(transport, tmp_path):
    tasks = cluster.clusters(worker=2)
    flags = (f"--transport={transport}", f"--startup_timeout_s={NEVER_S}")
    with (
        cluster.task(tasks[0], tmp_path, *flags) as waiting,
        _peer(tasks[1], transport=transport) as silent,
    ):
        silent.await_line("met")
        time.sleep(1)  # Into the wait, whose start is not logged.
        waiting.send(signal.SIGTERM)
        assert waiting.wait(SECONDS) == 75, waiting.said


@pytest.mark.parametrize("lost, transport", [(0, "direct"), (1, "direct"), (1, "tensorflow")])
def test_a_worker_killed_during_training_is_named_by_the_other(lost, transport, tmp_path):
    flags = ("--config.train.steps=1000000", "--config.train.eval_every_epochs=0")
    flags += (f"--transport={transport}",)
    specs = cluster.clusters(worker=2)
    with (
        cluster.task(specs[lost], tmp_path, *flags) as leaving,
        cluster.task(specs[1 - lost], tmp_path, *flags) as surviving,
    ):
        surviving.await_line("epoch   2.00")
        leaving.send(signal.SIGKILL)
        _ends_naming(surviving, f"worker {lost}")


def test_the_first_of_four_workers_to_be_lost_is_named(tmp_path):
    flags = ("--config.train.steps=1000000", "--config.train.eval_every_epochs=0")
    specs = cluster.clusters(worker=4)
    with contextlib.ExitStack() as stack:
        *surviving, leaving = (
            stack.enter_context(cluster.task(spec, tmp_path, *flags)) for spec in specs
        )
        surviving[0].await_line("epoch   2.00")
        leaving.send(signal.SIGKILL)
        # Each also sees the others exit, and must not name them as the cause. In the exchange worker 0
        # waits for workers 1 and 2 only.
        for one in surviving:
            _ends_naming(one, "worker 3")


@pytest.mark.parametrize("more", [(), ("--mesh=model:2", "--config.model.blocks=2")])
def test_a_worker_stopped_during_training_is_named_by_the_other(more, tmp_path):
    flags = ("--config.train.steps=1000000", f"--peer_timeout_s={PEER_TIMEOUT_S}", *more)
    specs = cluster.clusters(worker=2)
    with (
        cluster.task(specs[0], tmp_path, *flags) as surviving,
        cluster.task(specs[1], tmp_path, *flags) as stopping,
    ):
        surviving.await_line("epoch   2.00")
        stopped = cluster.guarded(stopping)
        os.kill(stopped, signal.SIGSTOP)
        _ends_naming(surviving, "worker 1")
        os.kill(stopped, signal.SIGKILL)
