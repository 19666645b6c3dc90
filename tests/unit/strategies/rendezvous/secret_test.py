"""Do only tasks that know the secret take part, whatever strangers send?"""

import contextlib
import subprocess
import sys
import threading
import time

import pytest

from strategies.errors import ClusterError, Resumable
from strategies.network.connection import AuthenticationError
from strategies.network.security import PLAIN, from_secret
from tests.unit.strategies.rendezvous.tasks import (
    PATIENCE_S,
    await_callers,
    await_calls,
    call_as,
    connected,
    in_threads,
    make_clusters,
    meet_later,
    watch,
)

SECRET, OTHER = from_secret(b"a secret of many bytes"), from_secret(b"another of many bytes too")


@pytest.mark.parametrize("secured", [PLAIN, SECRET], ids=["plain", "tls"])
def test_strangers_do_not_delay_the_roll_call(secured):
    first, second = make_clusters(worker=2)
    host, port = second.address(second.task).split(":")
    noises = [b"", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"\xff\n", b"x" * (2 << 20)]
    noises += [b'{"muster": "hello"}\n', b'{"muster": "hello", "introduction": "0', b"[" * 9999]
    hello = b'{"muster": "hello", "introduction": '
    noises += [hello + b'{"task": ["\\ud800", 0], "fingerprint": {}}}\n']
    noises += [hello + b'{"a":' * 900 + b"0" + b"}" * 900 + b"}\n", b'{"muster": "refused"}\n']
    noises += [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x16\x03\x01\x00\x01\x00",
        b"\x15\x03\x03\x00\x02\x02\x30",
    ]
    noises += [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]  # As TensorFlow's own client begins.
    with contextlib.ExitStack() as stack:
        met = []
        waiting = threading.Thread(
            target=lambda: met.append(meet_later(second, security=secured)())
        )
        waiting.start()
        for noise in noises * 10:
            stranger = stack.enter_context(connected(host, int(port)))
            with contextlib.suppress(OSError):
                stranger.sendall(noise)
        met.append(meet_later(first, security=secured)())
        waiting.join(PATIENCE_S)
        assert len(met) == 2
        for membership in met:
            membership.close()


def test_tasks_that_share_a_secret_meet():
    clusters = make_clusters(worker=3)
    memberships = in_threads(*(meet_later(one, security=SECRET) for one in clusters))
    assert len({membership.run for membership in memberships}) == 1
    for membership in memberships:
        membership.close()


def _and_the_rejecting_outlast_it(leader, monkeypatch):
    """The call of a leader, whose end those who reject it wait for, however slow the machine is."""
    has_ended = threading.Event()
    await_callers(monkeypatch, lambda listener: listener.rejected_by_name and has_ended.is_set())

    def lead():
        try:
            return leader()
        finally:
            has_ended.set()

    return lead


@pytest.mark.parametrize("theirs", [OTHER, PLAIN], ids=["another", "none"])
def test_only_the_task_that_lacks_the_secret_ends_with_bad_input(theirs, monkeypatch):
    first, second, third = make_clusters(worker=3)
    why = "it does not know the secret"
    await_calls(monkeypatch, {second.task: "answers", third.task: why})
    errors = in_threads(
        _and_the_rejecting_outlast_it(meet_later(first, timeout_s=2, security=SECRET), monkeypatch),
        meet_later(second, security=SECRET),
        meet_later(third, timeout_s=2, security=theirs),
    )
    assert [type(error) for error in errors] == [Resumable, Resumable, ClusterError]
    known = (
        f"worker 2 at {third.address(third.task)} ({why}) did not answer within 2 s; start it with the "
        "same --secret_file, or correct TF_CONFIG, and run again."
    )
    has = "which has another or none" if theirs.is_on else "which has one, while this task has none"
    unknown = (
        "`--secret_file` must hold the same secret on every task. Received: a call to worker 2 by worker "
        f"0, the leader, from 127.0.0.1, {has}; give every task the same file, or the same MUSTER_SECRET."
    )
    assert [str(error) for error in errors] == [known, known, unknown]


def test_a_leader_without_the_secret_is_told_so_by_every_task(monkeypatch):
    first, second = make_clusters(worker=2)
    await_calls(monkeypatch, {second.task: "it requires a secret or certificates"})
    errors = in_threads(
        _and_the_rejecting_outlast_it(meet_later(first, timeout_s=1), monkeypatch),
        meet_later(second, timeout_s=1, security=SECRET),
    )
    assert [type(error) for error in errors] == [Resumable, ClusterError]
    assert "(it requires a secret or certificates) did not answer within 1 s" in str(errors[0])
    assert "0, the leader, from 127.0.0.1, which has another or none; give every" in str(errors[1])


def test_a_stranger_with_another_secret_does_not_make_a_late_leader_bad_input(monkeypatch):
    leader, worker = make_clusters(worker=2)
    host, port = worker.address(worker.task).split(":")
    errors = []
    were_rejected = threading.Event()
    await_callers(monkeypatch, lambda listener: were_rejected.is_set() and listener.rejected_hosts)
    waiting = threading.Thread(
        target=lambda: errors.extend(in_threads(meet_later(worker, timeout_s=1.5, security=SECRET)))
    )
    waiting.start()
    for theirs in (OTHER, PLAIN):
        with pytest.raises(AuthenticationError), connected(host, int(port)) as stranger:
            call_as(["worker", 0], stranger, security=theirs)
    were_rejected.set()
    waiting.join(PATIENCE_S)
    assert [type(error) for error in errors] == [Resumable]
    assert str(errors[0]) == (
        f"worker 0, the leader, at {leader.address(leader.task)} did not complete the roll call within "
        "1.5 s (rejected: callers from 127.0.0.1, without this task's secret); start it, or correct "
        "TF_CONFIG, and run again."
    )


def test_a_lost_task_that_returns_without_the_secret_is_rejected(monkeypatch):
    clusters = make_clusters(chief=1, worker=2, ps=1)
    chief, first, *others = in_threads(*(meet_later(one, security=SECRET) for one in clusters))
    reports = watch(chief)
    first.close()
    reports.get(timeout=PATIENCE_S)
    chief.reconnect(clusters[1].task)
    await_callers(monkeypatch, lambda listener: listener.rejected_by_name)
    with pytest.raises(
        ClusterError, match="must hold the same secret on every task. Received: a call"
    ):
        meet_later(clusters[1], timeout_s=1, security=OTHER)()
    meet_later(clusters[1], security=SECRET)().close()
    for membership in (chief, *others):
        membership.close()


def test_only_the_leader_can_start_the_run():
    first, second = make_clusters(worker=2)
    outcomes = []
    waiting = threading.Thread(target=lambda: outcomes.extend(in_threads(meet_later(second))))
    waiting.start()
    host, port = second.address(second.task).split(":")
    with connected(host, int(port)) as other:
        connection = call_as(["worker", 1], other)
        connection.send({"verdict": "go", "run": "0"})
        with pytest.raises(EOFError):
            connection.receive(time.monotonic() + PATIENCE_S)
    meet_later(first)().close()
    waiting.join(PATIENCE_S)
    outcomes[0].close()


FLOOD = """
import socket, sys

address = ("127.0.0.1", int(sys.argv[1]))
print("flooding", flush=True)
held = []
while True:
    try:
        held.append(socket.create_connection(address, 1))
        held[-1].sendall((b"", b'{"muster": "hello"}\\n', b"\\x16\\x03\\x01\\2\\0\\1\\0")[len(held) % 3])
    except OSError:
        pass
    if len(held) > 300:
        held.pop(0).close()
"""


def test_a_flood_of_connections_does_not_prevent_a_start():
    first, second = make_clusters(worker=2)
    port = second.address(second.task).split(":")[1]
    command = [sys.executable, "-c", FLOOD, port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
        try:
            assert flood.stdout.readline() == "flooding\n"
            met = in_threads(
                meet_later(second, security=SECRET), meet_later(first, security=SECRET)
            )
        finally:
            flood.kill()
    for membership in met:
        membership.close()
