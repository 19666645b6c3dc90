"""Does `probe` report what each address answers, in time and without disturbing a task?"""

import contextlib
import socket
import threading
import time

from strategies.cluster.spec import ClusterSpec, Task, split_address
from strategies.rendezvous import probe
from tests.unit.strategies.rendezvous.tasks import (
    PATIENCE_S,
    listening,
    make_clusters,
    meet_later,
)


def test_probe_reports_what_each_address_answers():
    clusters = make_clusters(worker=2)
    jobs = {"worker": (*clusters[0].jobs["worker"], "no.such.invalid:1", "192.0.2.1:9")}
    cluster = ClusterSpec(jobs, Task("worker", 3))
    with listening(jobs["worker"][1], b"HTTP/1.1 400\r\n\r\n"):
        found = probe.probe(cluster, timeout_s=PATIENCE_S)
    assert found == {
        Task("worker", 0): "refused",
        Task("worker", 1): "another program answers there",
        Task("worker", 2): "name does not resolve",
    }
    assert probe.probe(ClusterSpec()) == {}


def test_a_port_that_only_accepts_connections_does_not_answer():
    """As a service mesh does for a task that has not started."""
    cluster = make_clusters(worker=2)[0]
    address = cluster.jobs["worker"][1]
    with listening(address):
        assert probe.probe(cluster, PATIENCE_S) == {Task("worker", 1): "it closed the connection"}
    with socket.create_server(split_address(address)):
        assert probe.probe(cluster, 0.5) == {Task("worker", 1): "no answer within 0.5 s"}


def test_probe_keeps_its_timeout_where_an_address_does_not_answer():
    backlog_full = socket.create_server(("127.0.0.1", 0), backlog=0)
    address = f"127.0.0.1:{backlog_full.getsockname()[1]}"
    with backlog_full, contextlib.ExitStack() as stack:
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(backlog_full.getsockname())
        started = time.monotonic()
        found = probe.probe(
            ClusterSpec({"worker": ("127.0.0.1:1", address)}, Task("worker", 0)), timeout_s=0.5
        )
    assert found == {Task("worker", 1): "no answer within 0.5 s"}
    assert time.monotonic() - started < PATIENCE_S  # The system itself would wait longer.


def test_probing_a_waiting_task_does_not_disturb_it():
    first, second = make_clusters(worker=2)
    met = []
    waiting = threading.Thread(target=lambda: met.append(meet_later(second)()))
    waiting.start()
    while probe.probe(first)[second.task] != "answers":
        pass
    met.append(meet_later(first)())
    waiting.join(PATIENCE_S)
    assert len(met) == 2
    for membership in met:
        membership.close()
