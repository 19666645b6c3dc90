"""Do all tasks find each other, or raise the same error that names what is wrong?"""

import dataclasses
import signal
import threading
import time

import pytest

from strategies.cluster import slurm
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.network.handshake import Handshake
from strategies.network.security import PLAIN
from strategies.network.sockets import connect, listen
from strategies.rendezvous import follower, probe, roll_call, verdict
from strategies.rendezvous.twin import Twin
from tests.unit.strategies.rendezvous.tasks import (
    FINGERPRINT,
    PATIENCE_S,
    await_calls,
    await_true,
    call_as,
    connected,
    in_threads,
    listening,
    make_clusters,
    meet_later,
)


@pytest.fixture
def no_task_is_late(monkeypatch):
    """A leader that knows the error waits for all tasks, however slow the machine is."""
    monkeypatch.setattr("strategies.rendezvous.leader._LATE_TASKS_S", PATIENCE_S)


def test_the_leader_may_start_first():
    clusters = make_clusters(worker=2)
    leader = threading.Thread(target=lambda: met.append(meet_later(clusters[0])()))
    met = []
    leader.start()
    met.append(meet_later(clusters[1])())
    leader.join(PATIENCE_S)
    for membership in met:
        membership.close()
    assert len(met) == 2


def test_all_tasks_that_are_here_name_a_missing_worker(monkeypatch):
    first, second, missing = make_clusters(worker=3)
    await_calls(monkeypatch, {second.task: "answers", missing.task: "refused"})
    errors = in_threads(meet_later(first, timeout_s=1.5), meet_later(second))
    address = missing.address(missing.task)
    assert [str(error) for error in errors] == 2 * [
        (
            f"worker 2 at {address} (refused) did not answer within 1.5 s; "
            "start it, or correct TF_CONFIG, and run again."
        )
    ]
    assert {type(error) for error in errors} == {Resumable}


def test_a_missing_leader_is_named():
    leader, worker = make_clusters(worker=2)
    with pytest.raises(Resumable) as caught:
        roll_call.meet(worker, FINGERPRINT, timeout_s=0.5)
    assert str(caught.value) == (
        f"worker 0, the leader, at {leader.address(leader.task)} did not complete the roll call "
        "within 0.5 s; start it, or correct TF_CONFIG, and run again."
    )


@pytest.mark.parametrize(
    "theirs, message",
    [
        (
            {"config": {"train.seed": 1}},
            (
                "`config.train.seed` must be the same on every task. Received: 0 on worker 0 and "
                "worker 1, 1 on worker 2; give every task the same flags and packages."
            ),
        ),
        (
            {"version": "2", "config": {}},
            (
                '`version` must be the same on every task. Received: "1" on worker 0 and worker 1, '
                '"2" on worker 2 (and `config.train.seed` differ too); give every task the same flags '
                "and packages."
            ),
        ),
        (
            {"config": {"train.seed": 0, "data.name": "digits"}},
            (
                "`config.data.name` must be the same on every task. Received: none on worker 0 and "
                'worker 1, "digits" on worker 2; give every task the same flags and packages.'
            ),
        ),
    ],
)
def test_all_tasks_name_the_one_with_another_fingerprint(theirs, message, no_task_is_late):
    first, second, third = make_clusters(worker=3)
    errors = in_threads(
        meet_later(first), meet_later(second), meet_later(third, {**FINGERPRINT, **theirs})
    )
    assert [(type(error), str(error)) for error in errors] == 3 * [(ClusterError, message)]


def test_a_difference_is_an_error_before_all_tasks_are_here():
    first, second, _ = make_clusters(worker=3)
    errors = in_threads(meet_later(first), meet_later(second, {**FINGERPRINT, "version": "2"}))
    assert ["`version`" in str(error) for error in errors] == [True, True]


def test_a_tuple_and_a_list_of_equal_values_do_not_differ():
    first, second = make_clusters(worker=2)
    memberships = in_threads(meet_later(first, {"a": (1, 2)}), meet_later(second, {"a": [1, 2]}))
    for membership in memberships:
        membership.close()


def test_tasks_with_different_clusters_name_the_job_that_differs():
    first, second = make_clusters(worker=2)
    other = ClusterSpec({**second.jobs, "ps": ("127.0.0.1:1",)}, second.task)
    errors = in_threads(meet_later(first), meet_later(other))
    assert [str(error) for error in errors] == 2 * [
        (
            '`cluster.ps` must be the same on every task. Received: none on worker 0, ["127.0.0.1:1"] '
            "on worker 1; give every task the same `cluster`."
        )
    ]


def test_another_task_at_an_address_is_named(monkeypatch):
    # As where the names of two machines are swapped, and each listens on all interfaces.
    first, second, third = make_clusters(worker=3)
    swapped = second.address(second.task)
    monkeypatch.setattr(
        ClusterSpec,
        "address",
        lambda self, task: swapped if self.task == third.task else self.jobs[task.type][task.index],
    )
    await_calls(monkeypatch, {second.task: "answers"})
    errors = in_threads(meet_later(first, timeout_s=1), meet_later(third))
    assert [str(error) for error in errors] == 2 * [
        (
            "`cluster.worker[1]` must be the address of worker 1, but worker 2 answered. Received: "
            f"'{swapped}'; correct the `task` there, or the order of the addresses."
        )
    ]


def test_in_a_slurm_step_the_advice_is_not_to_correct_addresses():
    leader, worker = (
        dataclasses.replace(one, source=slurm.SOURCE) for one in make_clusters(worker=2)
    )
    with pytest.raises(
        Resumable, match="start it, or set TF_CONFIG={} to train as a single task, and"
    ):
        roll_call.meet(leader, FINGERPRINT, timeout_s=0.5)
    with listening(worker.address(worker.task)), pytest.raises(ClusterError) as caught:
        roll_call.meet(worker, FINGERPRINT, timeout_s=PATIENCE_S)
    assert str(caught.value).endswith(
        "; end the program that uses it, or use --cluster with another port."
    )


@pytest.mark.parametrize("place", [0, 1])
def test_a_port_in_use_is_an_error_at_once(place):
    cluster = make_clusters(worker=2)[place]
    address = cluster.address(cluster.task)
    with listening(address), pytest.raises(ClusterError) as caught:
        roll_call.meet(cluster, FINGERPRINT, timeout_s=PATIENCE_S)
    assert str(caught.value) == (
        f"`cluster.worker[{place}]` names a port that is in use on this machine. Received: "
        f"'{address}'; end the program that uses it, or give each task its own index and port."
    )


def test_another_program_at_a_workers_address_is_reported_as_such(monkeypatch):
    first, second = make_clusters(worker=2)
    await_calls(monkeypatch, {second.task: "another program answers there"})
    address = second.address(second.task)
    with (
        listening(address, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        pytest.raises(Resumable) as caught,
    ):
        roll_call.meet(first, FINGERPRINT, timeout_s=1)
    assert f"worker 1 at {address} (another program answers there) did not" in str(caught.value)


def test_a_worker_whose_name_does_not_resolve_is_missing():
    first = ClusterSpec(
        {"worker": (make_clusters(worker=1)[0].address(Task("worker", 0)), "no.such.invalid:1")}
    )
    with pytest.raises(Resumable, match="worker 1 at no.such.invalid:1"):
        roll_call.meet(first, FINGERPRINT, timeout_s=1)


def test_a_worker_that_restarts_during_the_roll_call_is_called_again(start):
    first, second, third = make_clusters(worker=3)
    leader, worker = start(first), start(second)
    worker.await_line("calling")
    time.sleep(0.5)  # No event shows that the leader has called; too short only weakens the test.
    worker.kill()
    restarted, last = start(second), start(third)
    for participant in (restarted, last, leader):
        participant.await_line("calling")
        participant.await_line("met")


def test_a_leader_that_restarts_during_the_roll_call_calls_again(start):
    first, second = make_clusters(worker=2)
    worker = start(second)
    worker.await_line("calling")
    host, port = second.address(second.task).split(":")
    with connected(host, int(port)) as leader_before:
        call_as(["worker", 0], leader_before)
    start(first)
    worker.await_line("met")


@pytest.mark.parametrize("remaining", ["1e999", "NaN", "1e9", "-1", '"60"', "1" + "0" * 400])
def test_a_caller_cannot_hold_a_task_beyond_its_own_deadline(remaining, monkeypatch):
    monkeypatch.setattr(verdict, "ANSWER_TIMEOUT_S", 0.1)
    _, worker = make_clusters(worker=2)
    host, port = worker.address(worker.task).split(":")
    listener = listen(worker)  # So that the call is there before the task begins to wait.
    monkeypatch.setattr(follower, "listen", lambda cluster: listener)
    with connected(host, int(port)) as caller:
        introduction = f'{{"task": ["worker", 0], "fingerprint": {{}}, "remaining_s": {remaining}}}'
        caller.sendall(f'{{"muster": "hello", "introduction": {introduction}}}\n'.encode())
        outcomes = in_threads(meet_later(worker, timeout_s=1.0))
    assert [type(outcome) for outcome in outcomes] == [Resumable]
    assert "worker 0, the leader," in str(outcomes[0])


def test_what_another_task_sends_reaches_no_terminal_with_its_control_characters():
    evil = "\x1b[2J\r\nmuster: done\u202e"
    _, worker = make_clusters(worker=2)
    host, port = worker.address(worker.task).split(":")
    for answer in ({"verdict": "input", "text": evil}, {"verdict": "resume", "text": evil}):
        outcomes = []
        waiting = threading.Thread(
            target=lambda to=outcomes: to.extend(in_threads(meet_later(worker)))
        )
        waiting.start()
        with connected(host, int(port)) as caller:
            call_as(["worker", 0], caller).send(answer)
            waiting.join(PATIENCE_S)
        assert [str(outcome) for outcome in outcomes] == [r"\x1b[2J muster: done\u202e"]
    first, second = make_clusters(worker=2)
    errors = in_threads(meet_later(first), meet_later(second, {**FINGERPRINT, evil: evil}))
    for error in errors:
        assert str(error).startswith(r"`\x1b[2J muster: done\u202e` must be the same on every task")
        assert str(error).isprintable()


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_wait_ends_the_process_at_once(start, place, number):
    participant = start(make_clusters(worker=2)[place], timeout_s=600)
    participant.await_line("calling")
    time.sleep(0.2)  # Into the wait; a signal before it ends the process too.
    participant.process.send_signal(number)
    assert participant.wait() == -number  # Long before those 600 s.


def _refusing(cluster, reason):
    return threading.Thread(
        target=roll_call.refuse, args=(cluster, ClusterError(reason), PATIENCE_S)
    )


@pytest.mark.parametrize("refusing", [0, 1])
def test_a_task_with_bad_input_ends_the_others_with_its_reason(refusing, no_task_is_late):
    clusters = make_clusters(worker=3)
    thread = _refusing(clusters.pop(refusing), "`data.dir` must be a folder.")
    thread.start()
    for outcome in in_threads(*map(meet_later, clusters)):
        expected = f"worker {refusing} ends with bad input: `data.dir` must be a folder."
        assert isinstance(outcome, ClusterError) and str(outcome) == expected
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_second_leader_is_named_and_not_the_others():
    leader, second = make_clusters(worker=2)
    hello = {"task": ["worker", 0], "fingerprint": {}}

    def handshake(task):
        return Handshake(PLAIN, {**hello, "task": task}, verdict.is_introduction)

    with Twin(leader, handshake(["worker", 0])) as twin:
        for introduced in (["worker", 1], ["worker", 0]):  # A probe of another task is no twin.
            assert twin.error() is None
            deadline = time.monotonic() + PATIENCE_S
            connection = connect(leader.address(leader.task), PATIENCE_S)
            link = handshake(introduced).call(connection, deadline).link
            assert link.is_readable(PATIENCE_S)  # It was closed.
            link.close()
        assert str(twin.error()) == (
            "`task` must differ between the tasks. Received: worker 0 here, and a call from 127.0.0.1 by "
            "another worker 0; give each task its own index."
        )


def test_a_second_leader_on_one_machine_finds_the_port_in_use():
    leader, worker = make_clusters(worker=2)
    met = []
    waiting = threading.Thread(target=lambda: met.extend(in_threads(meet_later(leader))))
    waiting.start()
    await_true(lambda: probe.probe(worker)[leader.task] == "answers")
    with pytest.raises(ClusterError, match="give each task its own index and port"):
        meet_later(leader)()
    met.append(meet_later(worker)())  # The first one still waits for it.
    waiting.join(PATIENCE_S)
    for membership in met:
        membership.close()
