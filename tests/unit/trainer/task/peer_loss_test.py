"""Which lost tasks does a run survive, and what does each task do about the others?"""

import threading

import pytest

from strategies import choose
from strategies.cluster.spec import ClusterSpec, Task
from trainer.task import peer_loss
from trainer.task.peer_loss import PeerLossPolicy

PS_JOBS = {"chief": ("a:1",), "worker": ("b:1", "c:1"), "ps": ("d:1",)}
WORKERS = {"worker": ("b:1", "c:1")}
CHIEF, FIRST, SECOND, PS = Task("chief", 0), Task("worker", 0), Task("worker", 1), Task("ps", 0)


class Exited(Exception):
    """Raised in place of the end of the process."""


@pytest.fixture(autouse=True)
def exits(monkeypatch):
    def exit_now(exit_code, message, task):
        raise Exited(f"{exit_code}: {message}", task)

    monkeypatch.setattr(peer_loss, "exit_now", exit_now)


def _policy(jobs, task, started=True):
    """A policy, and the tasks that it has asked to be reconnected."""
    cluster, reconnected = ClusterSpec(jobs, task), []
    policy = PeerLossPolicy(cluster, choose.choose(cluster), reconnected.append)
    policy.started = started
    return policy, reconnected


def _message(task):
    return f"75: {task} was lost (its connection closed); run the same command again to resume"


def _lose(policy, task):
    policy.on_lost(task, "its connection closed")


def test_a_worker_beside_parameter_servers_is_brought_back():
    policy, reconnected = _policy(PS_JOBS, CHIEF)
    _lose(policy, FIRST)
    assert reconnected == [FIRST]
    policy.on_back(FIRST)
    _lose(policy, SECOND)
    assert reconnected == [FIRST, SECOND]


def test_the_last_worker_ends_the_run():
    policy, _ = _policy(PS_JOBS, CHIEF)
    _lose(policy, FIRST)
    with pytest.raises(Exited) as ended:
        _lose(policy, SECOND)
    assert ended.value.args == (_message(SECOND), SECOND)


@pytest.mark.parametrize(
    "jobs, task, lost, started",
    [
        (PS_JOBS, CHIEF, PS, True),
        (PS_JOBS, CHIEF, FIRST, False),  # TensorFlow's servers still start.
        (PS_JOBS, FIRST, CHIEF, True),
        (WORKERS, FIRST, SECOND, True),
        (WORKERS, SECOND, FIRST, True),
    ],
)
def test_any_other_loss_ends_this_task(jobs, task, lost, started):
    policy, reconnected = _policy(jobs, task, started)
    with pytest.raises(Exited) as ended:
        _lose(policy, lost)
    assert ended.value.args == (_message(lost), lost)
    assert not reconnected


def test_a_task_that_only_serves_closes_its_connections_to_a_lost_one(monkeypatch):
    addresses, is_cut = [], threading.Event()
    monkeypatch.setattr(
        peer_loss, "close_connections_to", lambda address: (addresses.append(address), is_cut.set())
    )
    policy, reconnected = _policy(PS_JOBS, PS)
    _lose(policy, FIRST)
    assert is_cut.wait(30) and addresses == ["b:1"]
    assert not reconnected
