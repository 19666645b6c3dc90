"""Does a lost worker of a parameter-server run get work again once it is back?"""

import os
import re
import signal

import pytest

from tests.cluster import cluster
from tests.cluster.cluster import Run

FLAGS = (
    "--config.train.steps=1000000",  # More than it will take before the test stops it.
    "--config.train.eval_every_epochs=0",
    "--config.train.steps_per_loop=2",
    "--config.train.checkpoint_every_steps=1000",
)


def _continues_and_stops_with_every_step_applied_once(coordinating, workdir):
    coordinating.await_lines("train      |", 20, after=len(coordinating.screen))
    coordinating.send(signal.SIGTERM)
    assert coordinating.wait() == 75, coordinating.said
    step = int(re.search(r"stopped at step (\d+)", coordinating.said)[1])
    assert step >= 20 * 24 and Run(workdir).iterations == {step}


@pytest.mark.long
def test_a_worker_that_was_killed_twice_continues_as_the_only_one(tmp_path):
    chief, first, second, server = cluster.clusters(chief=1, worker=2, ps=1)
    with (
        cluster.task(server, tmp_path, *FLAGS) as serving,
        cluster.task(second, tmp_path, *FLAGS) as staying,
        cluster.task(chief, tmp_path, *FLAGS) as coordinating,
    ):
        with cluster.task(first, tmp_path, *FLAGS) as leaving:
            coordinating.await_line("epoch   1.00")
            leaving.send(signal.SIGKILL)
            coordinating.await_line("worker 0 was lost")
        with cluster.task(first, tmp_path, *FLAGS) as leaving:
            coordinating.await_line("worker 0 is back")
            leaving.send(signal.SIGKILL)  # While it starts its server, or compiles.
            coordinating.await_lines("worker 0 was lost", 2)
        with cluster.task(first, tmp_path, *FLAGS) as returned:
            coordinating.await_lines("worker 0 is back", 2)
            staying.send(signal.SIGKILL)  # From here on no other worker gets work.
            coordinating.await_line("worker 1 was lost")
            _continues_and_stops_with_every_step_applied_once(coordinating, tmp_path)
            assert returned.wait() == serving.wait() == 75


@pytest.mark.long
def test_a_worker_that_was_stopped_is_lost_and_may_be_restarted(tmp_path):
    flags = (*FLAGS, "--peer_timeout_s=8")
    chief, first, second, server = cluster.clusters(chief=1, worker=2, ps=1)
    with (
        cluster.task(server, tmp_path, *flags) as serving,
        cluster.task(second, tmp_path, *flags) as staying,
        cluster.task(chief, tmp_path, *flags) as coordinating,
    ):
        with cluster.task(first, tmp_path, *flags) as stopping:
            coordinating.await_line("epoch   1.00")
            stopped = cluster.guarded(stopping)
            os.kill(stopped, signal.SIGSTOP)
            coordinating.await_line("worker 0 was lost (not heard from for 8 s)")
            printed = len(coordinating.screen)
            # The chief no longer waits for it.
            coordinating.await_lines("train      |", 5, after=printed)
            os.kill(stopped, signal.SIGCONT)
            assert stopping.wait() == 75
            assert "chief 0 was lost" in stopping.error
        with cluster.task(first, tmp_path, *flags) as returned:
            coordinating.await_line("worker 0 is back")
            staying.send(signal.SIGKILL)
            coordinating.await_line("worker 1 was lost")
            _continues_and_stops_with_every_step_applied_once(coordinating, tmp_path)
            assert returned.wait() == serving.wait() == 75


# A chief that pauses after its third report until a lost worker is back and has started its server.
PAUSING = """
import sys, threading, time

from strategies import choose, create
from strategies.rendezvous import probe, roll_call
from strategies.cluster import tf_config
from trainer.task import fingerprint
from trainer.training import assemble, loop
from trainer.cli import parser
from trainer.config import load as config_load
from trainer.data import registry
from trainer.process import watchdog
from trainer.process.signals import StopRequest
from trainer.storage.workdir import Workdir

options = parser.parse(sys.argv[1:])
recipe = config_load.resolve(options.config, options.overrides)
cluster = tf_config.from_env()
choice = choose.choose(cluster)
back = threading.Event()
with roll_call.meet(cluster, fingerprint.compute(recipe, choice, 1, None), 100) as membership:
    membership.watch(lambda one, _: membership.reconnect(one), 30, lambda one: back.set())
    runtime = create.create(choice, cluster, ["CPU:0"], membership)
    collect, reports = runtime.collect, []

    def pausing_collect():
        reports.append(collect())
        if len(reports) == 3:
            print("between loops", flush=True)
            assert back.wait(100)
            while probe.probe(cluster)[cluster.trainers()[0]] != "answers":
                time.sleep(0.1)
            print("continuing", flush=True)
        return reports[-1]

    runtime.collect = pausing_collect
    workdir = Workdir(options.workdir)
    workdir.initialize(recipe)
    with watchdog.Watchdog(600) as watch:
        parts = assemble.assemble(recipe, registry.load(recipe.data), runtime, workdir)
        result = loop.train(parts, StopRequest(), watch)
    print("applied", result.step, flush=True)
    raise SystemExit(membership.wait_for_all(60))
"""


@pytest.mark.long
def test_a_worker_that_is_back_between_two_loops_gets_work(tmp_path):
    flags = (f"--workdir={tmp_path}", "--config.train.steps=480", "--config.train.steps_per_loop=7")
    chief, first, server = cluster.clusters(chief=1, worker=1, ps=1)
    with (
        cluster.task(server, tmp_path, *flags[1:]),
        cluster.Process(["-c", PAUSING, *flags], cluster.tf_config(chief)) as coordinating,
    ):
        with cluster.task(first, tmp_path, *flags[1:]) as leaving:
            coordinating.await_line("between loops")
            leaving.send(signal.SIGKILL)
        with cluster.task(first, tmp_path, *flags[1:]) as returned:
            coordinating.await_line("continuing")
            assert coordinating.wait() == 0, coordinating.said  # There is no other worker.
            assert returned.wait() == 0
    assert Run(tmp_path).iterations == {480}


def test_the_loss_of_the_last_worker_ends_the_run_so_that_it_can_be_resumed(tmp_path):
    chief, worker, server = cluster.clusters(chief=1, worker=1, ps=1)
    with (
        cluster.task(server, tmp_path, *FLAGS),
        cluster.task(worker, tmp_path, *FLAGS) as leaving,
        cluster.task(chief, tmp_path, *FLAGS) as coordinating,
    ):
        coordinating.await_line("epoch   1.00")
        leaving.send(signal.SIGKILL)
        assert coordinating.wait() == 75, coordinating.said
        assert "worker 0 was lost" in coordinating.error
