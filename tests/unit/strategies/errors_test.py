"""Does an error about a lost or missing task carry that task as a value, on every task that raises it?"""

import concurrent.futures
import json

import numpy as np
import pytest

from strategies.cluster.spec import ClusterSpec, Task
from strategies.collectives.all_reduce import PeerLost, SocketAllReduce, aligned
from strategies.errors import ClusterError, Resumable, os_reason
from strategies.network.security import PLAIN
from strategies.rendezvous import roll_call
from tests.unit.strategies.rendezvous.tasks import await_calls, await_true
from trainer.launch.ports import free_ports

PATIENCE_S = 60.0


def clusters(workers):
    jobs = {"worker": tuple(f"127.0.0.1:{port}" for port in free_ports(workers))}
    return [ClusterSpec(jobs, Task("worker", index)) for index in range(workers)]


def in_threads(*functions):
    """What each returns, or the Resumable that it raises."""

    def call(function):
        try:
            return function()
        except Resumable as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


def meet(cluster, timeout_s=PATIENCE_S):
    return roll_call.meet(cluster, {}, timeout_s)


def test_a_missing_worker_is_known_to_every_task_that_is_here(monkeypatch):
    first, second, _ = clusters(3)
    await_calls(monkeypatch, {second.task: "answers"})
    errors = in_threads(lambda: meet(first, 1.0), lambda: meet(second))
    assert [error.task for error in errors] == [Task("worker", 2)] * 2


def test_a_missing_leader_is_known():
    _, second = clusters(2)
    with pytest.raises(Resumable) as caught:
        meet(second, 0.5)
    assert caught.value.task == Task("worker", 0)


@pytest.fixture
def members():
    memberships = in_threads(*(lambda one=one: meet(one) for one in clusters(3)))
    yield memberships
    for membership in memberships:
        membership.close()


def test_a_lost_task_is_known_to_those_that_wait_for_it(members):
    first, second, third = members
    third.close()
    errors = in_threads(
        lambda: first.wait_for_all(PATIENCE_S), lambda: second.wait_for_all(PATIENCE_S)
    )
    assert [error.task for error in errors] == [Task("worker", 2)] * 2


def test_a_task_that_does_not_end_in_time_is_known(members):
    first, second, _ = members
    (error,) = in_threads(lambda: second.wait_for_all(0.5))
    assert error.task == Task("worker", 0)
    await_true(lambda: Task("worker", 1) in first._done)
    (error,) = in_threads(lambda: first.wait_for_all(0.5))
    assert error.task == Task("worker", 2)


@pytest.mark.parametrize("ends", [True, False], ids=["its connection closes", "it is silent"])
def test_the_all_reduce_knows_the_peer_that_it_lost(ends, monkeypatch):
    monkeypatch.setattr(SocketAllReduce, "silence_s", 0.3)
    pair = clusters(2)
    first, second = in_threads(
        *(lambda one=one: SocketAllReduce.connect(one, "run", PLAIN, PATIENCE_S) for one in pair)
    )
    if ends:
        second.close()
    with pytest.raises(PeerLost) as caught:
        first.sum([np.ones(4, np.float32)], aligned(4))
    assert caught.value.task == Task("worker", 1)
    for exchange in (first, second):
        exchange.close()


@pytest.mark.parametrize("here, missing", [(0, 1), (1, 0)])
def test_the_all_reduce_knows_the_peer_that_does_not_connect(here, missing):
    with pytest.raises(PeerLost) as caught:
        SocketAllReduce.connect(clusters(2)[here], "run", PLAIN, 0.5)
    assert caught.value.task == Task("worker", missing)


def test_an_error_about_no_task_carries_none():
    assert Resumable("the evaluator was asked to stop").task is None
    assert not hasattr(ClusterError("`task` is missing"), "task")


@pytest.mark.parametrize("task", [Task("chief", 0), Task("worker", 12), Task("ps", 1)])
def test_a_task_is_the_same_after_json(task):
    assert Task.from_json(json.loads(json.dumps(task.as_json()))) == task


@pytest.mark.parametrize(
    "value", [None, "worker 1", [], ["worker"], ["worker", "1"], ["worker", -1], ["cook", 0],
              ["worker", True], ["worker", 1, 2], {"type": "worker"}],
)  # fmt: skip
def test_any_other_json_is_no_task(value):
    assert Task.from_json(value) is None


def test_an_error_of_the_system_without_a_number_gives_its_own_text_as_the_reason():
    assert (
        os_reason(FileNotFoundError(2, "No such file or directory")) == "No such file or directory"
    )
    assert os_reason(OSError("truncated")) == "truncated"
