"""Is every loss reported to all tasks, and do tasks end together?"""

import queue
import select
import signal
import threading
import time

import pytest

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.rendezvous import roll_call
from tests.unit.strategies.rendezvous.tasks import (
    FINGERPRINT,
    PATIENCE_S,
    all_met,
    await_true,
    call_as,
    connected,
    in_threads,
    make_clusters,
    meet_later,
    met_participants,
    watch,
)


def test_a_single_task_and_an_evaluator_do_not_wait_for_peers():
    evaluator = ClusterSpec(make_clusters(worker=2)[0].jobs, Task("evaluator", 0))
    for cluster in (ClusterSpec(), evaluator):
        with roll_call.meet(cluster, FINGERPRINT, timeout_s=0) as membership:
            membership.watch(pytest.fail)
            assert membership.wait_for_all(timeout_s=0) == 0
            assert membership.wait_for_exit() == 0
            assert membership.wait_for_loss(timeout_s=10) is None


@pytest.mark.parametrize(
    "counts", [{"worker": 2}, {"worker": 3}, {"chief": 1, "worker": 2}], ids=str
)
def test_tasks_that_met_end_together(counts):
    with all_met(make_clusters(**counts)) as memberships:
        lost = []
        for membership in memberships:
            membership.watch(lambda *loss: lost.append(loss))
        codes = in_threads(*(lambda m=m: m.wait_for_all(PATIENCE_S) for m in memberships))
        assert codes == [0] * len(memberships)
        for membership in memberships:
            membership.close()
            membership.close()
        assert not lost


def test_parameter_servers_and_workers_end_with_the_exit_code_of_the_chief():
    with all_met(make_clusters(chief=1, worker=2, ps=1)) as (chief, *others):
        waits = [lambda m=m: m.wait_for_exit(PATIENCE_S) for m in others]
        assert in_threads(lambda: chief.broadcast_exit(75), *waits) == [75] * 4
        assert chief.broadcast_exit(0) == 75
        assert [m.exit_code for m in others] == [75] * 3
        assert not any(m.lost for m in (chief, *others))


@pytest.mark.parametrize("place", [0, 2])
def test_all_others_name_a_killed_peer(start, place):
    participants = met_participants(start, make_clusters(worker=3))
    killed = participants.pop(place)
    killed.process.kill()
    for participant in participants:
        participant.await_line(f"lost worker {place}: its connection closed")


@pytest.mark.parametrize("place", [0, 2])
def test_all_others_name_a_stopped_peer(start, place):
    participants = met_participants(start, make_clusters(worker=3))
    stopped = participants.pop(place)
    stopped.process.send_signal(signal.SIGSTOP)
    # Short timeouts begin after the start, which may be slow. The leader's is longer, as a slow machine
    # may delay a beat of the other worker.
    watching, timeout_s = (participants, 2) if place == 0 else (participants[:1], 5)
    for participant in watching:
        participant.send(f"watch {timeout_s}")
    for participant in participants:
        participant.await_line(f"lost worker {place}: not heard from for {timeout_s} s")


def test_a_short_stop_is_not_a_loss_on_either_side(start):
    first, second = met_participants(start, make_clusters(worker=2), peer_timeout_s=30)
    second.process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)  # More than two beats.
    second.process.send_signal(signal.SIGCONT)
    second.send("wait_for_all 60")
    first.send("wait_for_all 60")
    first.await_line("wait_for_all 0")
    second.await_line("wait_for_all 0")


def test_watch_reports_a_peer_that_was_lost_before_it():
    with all_met(make_clusters(worker=2)) as (first, second):
        second.close()
        assert first.wait_for_loss(PATIENCE_S) == (Task("worker", 1), "its connection closed")
        reports = queue.Queue()
        first.watch(lambda *loss: reports.put(loss))
        assert reports.get(timeout=PATIENCE_S) == (Task("worker", 1), "its connection closed")
        assert first.lost == {Task("worker", 1): "its connection closed"}


def test_another_process_may_watch_a_connection_whose_loss_was_not_reported_yet():
    with all_met(make_clusters(worker=2)) as (first, second):
        second.close()
        assert first.wait_for_loss(PATIENCE_S)
        poll = select.poll()
        poll.register(first.connections[Task("worker", 1)].fileno(), select.POLLRDHUP)
        assert poll.poll(0)


def _loss_after(worker, say):
    """The loss that a worker reports once its leader, which is this test, has said something."""
    host, port = worker.address(worker.task).split(":")
    met = []
    waiting = threading.Thread(target=lambda: met.extend(in_threads(meet_later(worker))))
    waiting.start()
    with connected(host, int(port)) as connection:
        link = call_as(["worker", 0], connection)
        link.send({"verdict": "go", "run": "0"})
        waiting.join(PATIENCE_S)
        say(connection, link)
        lost = met[0].wait_for_loss(PATIENCE_S)
        met[0].close()
    return lost


@pytest.mark.parametrize(
    "message",
    [
        '{"exit": 1e999}',
        '{"exit": 256}',
        '{"exit": null}',
        '{"lost": ["worker", 1]}',
        '{"lost": ["worker", -1, ""]}',
        '{"lost": [{}, 0, ""]}',
        '{"back": ["\\u001b[2J", 0]}',
        '{"back": 1}',
        '{"a":' * 900 + "0" + "}" * 900,
    ],
)
def test_an_invalid_message_of_the_leader_is_a_loss_of_the_leader(message):
    leader, worker = make_clusters(worker=2)
    lost = _loss_after(worker, lambda connection, _: connection.sendall(message.encode() + b"\n"))
    assert lost == (leader.task, "its connection closed")


def test_a_reason_from_the_leader_is_printed_without_its_control_characters():
    _, worker, _ = make_clusters(worker=3)
    message = {"lost": ["worker", 2, "\x1b[2J\nmuster: done"]}
    lost = _loss_after(worker, lambda _, link: link.send(message))
    assert lost == (Task("worker", 2), r"\x1b[2J muster: done")


def test_on_lost_may_close_the_membership():
    with all_met(make_clusters(worker=2)) as (first, second):
        closed = threading.Event()
        first.watch(lambda task, reason: (first.close(), closed.set()))
        second.close()
        assert closed.wait(PATIENCE_S)


def test_wait_for_all_names_a_task_that_is_lost_meanwhile(start):
    first, second, third = met_participants(start, make_clusters(worker=3))
    for participant in (first, second):
        participant.send("wait_for_all 60")
    third.process.kill()
    for participant in (first, second):
        assert participant.wait() == 75
        participant.reader.join()
        lines = [participant.lines.get() for _ in range(participant.lines.qsize())]
        assert lines[-1] == (
            "Resumable: worker 2 was lost (its connection closed); run the same command again to "
            "resume."
        )


def test_wait_for_all_names_a_task_that_does_not_reach_the_end_in_time():
    with all_met(make_clusters(worker=3)) as (first, second, _):
        late = in_threads(lambda: second.wait_for_all(0.5))
        await_true(lambda: Task("worker", 1) in first._done)
        errors = in_threads(lambda: first.wait_for_all(0.5)) + late
        assert [str(error) for error in errors] == [
            f"{name} did not reach the end of the run within 0.5 s; run the same command again "
            "to resume."
            for name in ("worker 2", "worker 0")
        ]


def test_a_serving_task_survives_the_loss_of_a_worker_but_not_of_the_chief():
    with all_met(make_clusters(chief=1, worker=2, ps=1)) as (chief, first, second, ps):
        second.close()
        assert ps.wait_for_loss(PATIENCE_S) == (Task("worker", 1), "its connection closed")
        ended = []
        waiting = threading.Thread(target=lambda: ended.extend(in_threads(ps.wait_for_exit)))
        waiting.start()
        chief.close()
        waiting.join(PATIENCE_S)
        assert str(ended[0]).startswith("chief 0 was lost (its connection closed)")
        assert isinstance(in_threads(first.wait_for_exit)[0], Resumable)


def test_tensorflows_server_binds_the_port_while_the_membership_is_open(start):
    clusters = make_clusters(worker=2)
    participants = met_participants(start, clusters)
    for participant, cluster in zip(participants, clusters, strict=True):
        participant.send("bind")
        participant.await_line(f"grpc://{cluster.address(cluster.task)}")
    for participant in participants:
        participant.send("wait_for_all 60")
    for participant in participants:
        participant.await_line("wait_for_all 0")


def serve(membership):
    waiting = threading.Thread(target=lambda: codes.append(membership.wait_for_exit()), daemon=True)
    codes = []
    waiting.start()
    return waiting, codes


def test_a_lost_worker_is_back_once_it_serves_again():
    clusters = make_clusters(chief=1, worker=2, ps=1)
    task = clusters[1].task
    with all_met(clusters) as (chief, first, _, ps):
        reports, reports_of_ps = watch(chief), watch(ps)
        first.close()
        for _ in range(2):  # Also a second time.
            assert reports.get(timeout=PATIENCE_S) == (task, "its connection closed")
            assert reports_of_ps.get(timeout=PATIENCE_S) == (task, "its connection closed")
            chief.reconnect(task)
            meet_later(clusters[1])().close()  # Lost again before it could serve.
            again = meet_later(clusters[1])()
            assert again.run == chief.run
            assert task in chief.lost
            serve(again)
            assert reports.get(timeout=PATIENCE_S) == reports_of_ps.get(timeout=PATIENCE_S) == task
            assert task not in {**chief.lost, **ps.lost}
            again.close()


def test_a_worker_that_is_back_ends_with_the_others():
    clusters = make_clusters(chief=1, worker=2, ps=1)
    with all_met(clusters) as (chief, first, *_):
        reports = watch(chief)
        first.close()
        reports.get(timeout=PATIENCE_S)
        chief.reconnect(clusters[1].task)
        with meet_later(clusters[1])() as again:
            waiting, codes = serve(again)
            assert reports.get(timeout=PATIENCE_S) == clusters[1].task
            assert chief.broadcast_exit(0) == 0
            waiting.join(PATIENCE_S)
            assert codes == [0]


def test_a_worker_that_is_back_with_another_fingerprint_is_refused_and_called_again():
    clusters = make_clusters(chief=1, worker=2, ps=1)
    with all_met(clusters) as (chief, first, *_):
        reports = watch(chief)
        first.close()
        reports.get(timeout=PATIENCE_S)
        chief.reconnect(clusters[1].task)
        with pytest.raises(ClusterError, match='"1" on chief 0, "2" on worker 0'):
            meet_later(clusters[1], {**FINGERPRINT, "version": "2"})()
        meet_later(clusters[1])().close()


def test_a_task_that_is_declared_lost_loses_its_connection():
    clusters = make_clusters(chief=1, worker=2, ps=1)
    with all_met(clusters) as (chief, first, *_):
        reports = watch(chief)
        chief.declare_lost(clusters[1].task, "it did nothing")
        assert reports.get(timeout=PATIENCE_S) == (clusters[1].task, "it did nothing")
        assert first.wait_for_loss(PATIENCE_S) == (clusters[0].task, "its connection closed")
