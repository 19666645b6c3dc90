"""Does a launched run resume, whichever process is killed?"""

import contextlib
import json
import os
import select
import signal
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from strategies.cluster.spec import Task
from tests.cluster import cluster, held
from tests.cluster.cluster import Run

STEPS = 1500
FLAGS = (
    "--config.train.steps_per_loop=5",
    "--config.train.checkpoint_every_steps=100",
    "--config.train.eval_every_epochs=0",
)
GONE_WITHIN_S = 90.0  # A task that only waited would wait for --startup_timeout_s, 120 s.
LEARNING = "epoch   9.00"  # After two checkpoints, and long before the end.
CHIEF, SERVER, FIRST, SECOND = Task("chief", 0), Task("ps", 0), Task("worker", 0), Task("worker", 1)
ELASTIC = """
import json, sys
from trainer.commands import launch
from trainer.cli.options import LaunchOptions
options, args = json.loads(sys.argv[1])
sys.exit(launch.run(LaunchOptions(**options), args, module="tests.cluster.unsteady"))
"""


def _flags(steps=STEPS):
    return (f"--config.train.steps={steps}", *FLAGS)


def _kill(launched: cluster.Process, task: Task) -> None:
    os.kill(cluster.pid_of(launched, task), signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Run:
    workdir = tmp_path_factory.mktemp("undisturbed")
    return cluster.finished(cluster.launching(workdir, *_flags()), workdir)


@pytest.mark.long  # kill_test.py kills one of two workers in every session.
@pytest.mark.parametrize("lost", [FIRST, SECOND], ids=str)
def test_a_killed_worker_costs_no_bit(lost, undisturbed, tmp_path):
    with held.before(epoch=20) as hold, cluster.launching(tmp_path, *_flags()) as launched:
        launched.await_line(LEARNING)
        _kill(launched, lost)
        hold.release()
        launched.await_line(f"launch: {lost} was killed by SIGKILL; restart 1 of 3")
        launched.await_line("resuming at step")
        run = cluster.finished(launched, tmp_path)
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
    assert run.iterations == {STEPS}


@pytest.mark.parametrize(
    "number, end",
    [
        (signal.SIGKILL, "was killed by SIGKILL"),
        pytest.param(signal.SIGSTOP, "did not answer", marks=pytest.mark.long),
    ],
)
def test_a_lost_warm_process_is_reported_and_costs_no_bit(number, end, undisturbed, tmp_path):
    with held.before(epoch=20) as hold, cluster.launching(tmp_path, *_flags()) as launched:
        launched.await_line(LEARNING)
        os.kill(cluster.warm_pid(launched), number)
        _kill(launched, SECOND)
        hold.release()
        launched.await_line(
            f"launch: the warm process {end}; every process now starts by importing"
        )
        run = cluster.finished(launched, tmp_path)
    assert run.screen.count("the warm process") == 1
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
    assert run.iterations == {STEPS}


@pytest.mark.long
@pytest.mark.parametrize("lost", [CHIEF, SERVER], ids=str)
def test_a_killed_chief_or_server_costs_no_step(lost, tmp_path):
    with held.before(epoch=20) as hold, cluster.launching(tmp_path, *_flags(), ps=1) as launched:
        launched.await_line(LEARNING)
        _kill(launched, lost)
        hold.release()
        launched.await_line(f"launch: {lost} was killed by SIGKILL; restart 1 of 3")
        run = cluster.finished(launched, tmp_path)
    assert "resuming at step" in run.screen
    assert run.summary["steps"] == STEPS
    assert run.iterations == {STEPS}


@pytest.mark.long  # launch_test.py covers it with stand-ins, parameter_server_test.py without launch.
def test_a_killed_worker_with_parameter_servers_restarts_alone(tmp_path):
    with held.before(epoch=20) as hold, cluster.launching(tmp_path, *_flags(), ps=1) as launched:
        launched.await_line(LEARNING)
        _kill(launched, SECOND)
        hold.release()
        launched.await_line(f"launch: {SECOND} was killed by SIGKILL; restart 1 of 3")
        run = cluster.finished(launched, tmp_path)
    assert "only this task restarts" in run.screen and "all tasks restart" not in run.screen
    assert run.summary["steps"] == STEPS
    assert run.iterations == {STEPS}


@pytest.mark.long
def test_a_launcher_killed_before_the_first_step_leaves_no_task_behind(tmp_path):
    with contextlib.ExitStack() as stack:
        launched = stack.enter_context(cluster.launching(tmp_path, *_flags()))
        launched.await_line("data | ")
        tasks = [cluster.pid_of(launched, task) for task in (FIRST, SECOND)]
        tasks = [stack.enter_context(_killed_at_the_end(pid)) for pid in tasks]
        launched.send(signal.SIGKILL)
        for task in tasks:
            assert select.select([task], [], [], GONE_WITHIN_S)[0], "a task outlived its launcher"


@pytest.mark.long  # launch_test.py covers it with stand-ins.
def test_a_killed_launcher_costs_no_bit(undisturbed, tmp_path):
    with contextlib.ExitStack() as stack:
        hold = stack.enter_context(held.before(epoch=20))
        launched = stack.enter_context(cluster.launching(tmp_path, *_flags()))
        launched.await_line(LEARNING)
        tasks = [cluster.pid_of(launched, task) for task in (FIRST, SECOND)]
        tasks = [stack.enter_context(_killed_at_the_end(pid)) for pid in tasks]
        launched.send(signal.SIGKILL)
        hold.release()
        again = stack.enter_context(cluster.launching(tmp_path, *_flags()))
        for task in tasks:
            assert select.select([task], [], [], GONE_WITHIN_S)[0], "a task outlived its launcher"
        run = cluster.finished(again, tmp_path)
    assert "resuming at step" in run.screen
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]


@contextlib.contextmanager
def _killed_at_the_end(pid: int) -> Iterator[BinaryIO]:
    """A file that can be read once the process, no child of this one, has ended."""
    with os.fdopen(os.pidfd_open(pid), "rb") as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.fileno(), signal.SIGKILL)


@pytest.mark.long  # launch_test.py covers it with stand-ins.
def test_a_worker_that_keeps_failing_is_dropped_until_it_is_back(tmp_path):
    away = tmp_path / "away"
    away.touch()
    options = {"workers": 3, "min_workers": 2, "rejoin_after_s": 30}
    args = [f"--workdir={tmp_path / 'run'}", *_flags(steps=1_000_000)]
    environ = {"AWAY": str(away)}
    with cluster.Process(["-c", ELASTIC, json.dumps([options, args])], environ) as launched:
        launched.await_line("launch: worker 1 keeps failing; continuing with 2 of 3 workers")
        launched.await_line(LEARNING)
        away.unlink()
        launched.await_line("launch: continuing with all 3 workers from the checkpoint of step")
        launched.await_lines("train      |", 3, after=len(launched.screen))
        launched.send(signal.SIGTERM)
        assert launched.wait() == 75, launched.said
    stopped = Run(tmp_path / "run")
    (steps,) = stopped.iterations
    one = cluster.finished(cluster.training(tmp_path / "one", *_flags(steps)), tmp_path / "one")
    for mine, theirs in zip(stopped.weights, one.weights, strict=True):
        assert mine.tobytes() == theirs.tobytes()
