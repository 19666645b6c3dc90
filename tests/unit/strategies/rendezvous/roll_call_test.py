"""Do tasks on loopback find each other, notice every loss, and reject strangers?"""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from strategies.cluster import slurm
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.network import handshake, sockets
from strategies.network.connection import JsonConnection
from strategies.rendezvous import probe, roll_call
from tests.paths import ROOT
from trainer.launch.ports import free_ports

PATIENCE_S = 20.0
FINGERPRINT = {"version": "1", "config": {"train.seed": 0}}

PARTICIPANT = """
import json, signal, sys
from strategies.cluster import tf_config
from strategies.errors import InputError, Resumable
from strategies.rendezvous.roll_call import meet

def report(*words):
    print(*words, flush=True)

fingerprint, timeout_s, peer_timeout_s = json.loads(sys.argv[1])
report("calling")
try:
    with meet(tf_config.from_env(), fingerprint, timeout_s) as membership:
        membership.watch(lambda task, reason: report(f"lost {task}: {reason}"), peer_timeout_s)
        report("met")
        for line in sys.stdin:
            if line.strip() == "bind":
                import tensorflow as tf
                cluster = tf_config.from_env()
                spec = tf.train.ClusterSpec(cluster.as_dict())
                server = tf.distribute.Server(spec, cluster.task.type, cluster.task.index)
                report(server.target)
                continue
            name, *arguments = line.split()
            result = getattr(membership, name)(*map(float, arguments))
            report(name, result)
except (InputError, Resumable) as error:
    report(f"{type(error).__name__}: {error}")
    sys.exit(error.exit_code)
"""


class Participant:
    """A process that answers the roll call, then calls the methods of Membership named on stdin."""

    def __init__(self, cluster, fingerprint, timeout_s, peer_timeout_s):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PARTICIPANT,
                json.dumps([fingerprint, timeout_s, peer_timeout_s]),
            ],
            cwd=ROOT,
            env={**os.environ, "TF_CONFIG": text_of(cluster), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip())

    def await_line(self, expected=None):
        line = self.lines.get(timeout=PATIENCE_S)
        assert expected in (None, line)
        return line

    def send(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def kill(self):
        self.process.kill()
        self.process.stdin.close()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


@pytest.fixture
def start():
    """Starts the participant for one task of a cluster; all are killed after the test."""
    with contextlib.ExitStack() as stack:

        def start_one(
            cluster, fingerprint=FINGERPRINT, timeout_s=PATIENCE_S, peer_timeout_s=PATIENCE_S
        ):
            participant = Participant(cluster, fingerprint, timeout_s, peer_timeout_s)
            stack.callback(participant.kill)
            return participant

        yield start_one


def text_of(cluster):
    task = {"type": cluster.task.type, "index": cluster.task.index}
    return json.dumps({"cluster": cluster.as_dict(), "task": task})


def make_clusters(**counts):
    """One ClusterSpec for each task, the leader's first, on free ports of this machine."""
    ports = iter(free_ports(sum(counts.values())))
    jobs = {job: tuple(f"127.0.0.1:{next(ports)}" for _ in range(n)) for job, n in counts.items()}
    return [ClusterSpec(jobs, task) for task in ClusterSpec(jobs).tasks()]


def in_threads(*calls):
    """What each call returned or raised; all of them run at the same time."""
    outcomes = [None] * len(calls)

    def run(index, call):
        try:
            outcomes[index] = call()
        except (ClusterError, Resumable) as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return outcomes


def meet_later(cluster, fingerprint=FINGERPRINT, timeout_s=PATIENCE_S, secret=b""):
    return lambda: roll_call.meet(cluster, fingerprint, timeout_s, secret)


@contextlib.contextmanager
def all_met(clusters):
    """The memberships of all tasks of a cluster, which meet in this process."""
    memberships = in_threads(*map(meet_later, clusters))
    try:
        yield memberships
    finally:
        for membership in memberships:
            membership.close()


@contextlib.contextmanager
def listening(address, answer=b""):
    """Another program that listens on an address, and answers every caller with the same bytes."""
    host, port = address.split(":")
    with socket.create_server((host, int(port))) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    with caller:
                        caller.sendall(answer)
                        caller.recv(1 << 16)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


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


def test_all_tasks_that_are_here_name_a_missing_worker():
    first, second, missing = make_clusters(worker=3)
    started = time.monotonic()
    errors = in_threads(meet_later(first, timeout_s=1.5), meet_later(second))
    assert time.monotonic() - started < 5
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
def test_all_tasks_name_the_one_with_another_fingerprint(theirs, message):
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
        f"'{address}'; end the program that uses it, or choose another port."
    )


def test_strangers_do_not_delay_the_roll_call():
    first, second = make_clusters(worker=2)
    host, port = second.address(second.task).split(":")
    noises = [b"", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"\xff\n", b"x" * (2 << 20)]
    noises += [b'{"muster": "hello"}\n', b'{"muster": "hello", "nonce": "0', b"[" * 9999]
    hello = b'{"muster": "hello", "nonce": "0"}\n'
    noises += [hello, hello + b"{}\n", hello + b'{"introduction": {}, "proof": "\\ud800"}\n']
    noises += [hello + b'{"introduction": ' + b'{"a":' * 900 + b"0" + b"}" * 900 + b"}\n"]
    noises += [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]  # As TensorFlow's own client begins.
    with contextlib.ExitStack() as stack:
        met = []
        waiting = threading.Thread(target=lambda: met.append(meet_later(second)()))
        waiting.start()
        for noise in noises * 10:
            stranger = stack.enter_context(connected(host, int(port)))
            with contextlib.suppress(OSError):
                stranger.sendall(noise)
        met.append(meet_later(first)())
        waiting.join(PATIENCE_S)
        assert len(met) == 2
        for membership in met:
            membership.close()


def connected(host, port):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection((host, port), timeout=5)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline


def test_another_program_at_a_workers_address_is_reported_as_such():
    first, second = make_clusters(worker=2)
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
        introduction = {"task": ["worker", 0], "fingerprint": {}, "remaining_s": 60}
        handshake.call(
            JsonConnection(leader_before), b"", introduction, time.monotonic() + PATIENCE_S
        )
    start(first)
    worker.await_line("met")


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_wait_ends_the_process_at_once(start, place, number):
    participant = start(make_clusters(worker=2)[place], timeout_s=600)
    participant.await_line("calling")
    time.sleep(0.2)  # Into the wait; a signal before it ends the process too.
    started = time.monotonic()
    participant.process.send_signal(number)
    assert participant.wait() == -number
    assert time.monotonic() - started < 2


def met_participants(start, clusters, **options):
    participants = [start(cluster, **options) for cluster in clusters]
    for participant in participants:
        participant.await_line("calling")
        participant.await_line("met")
    return participants


@pytest.mark.parametrize("place", [0, 2])
def test_all_others_name_a_killed_peer(start, place):
    participants = met_participants(start, make_clusters(worker=3))
    killed = participants.pop(place)
    killed.process.kill()
    for participant in participants:
        participant.await_line(f"lost worker {place}: its connection closed")


@pytest.mark.parametrize("place", [0, 2])
def test_all_others_name_a_stopped_peer(start, place):
    participants = met_participants(start, make_clusters(worker=3), peer_timeout_s=2)
    stopped = participants.pop(place)
    stopped.process.send_signal(signal.SIGSTOP)
    for participant in participants:
        participant.await_line(f"lost worker {place}: not heard from for 2 s")


def test_a_short_stop_is_not_a_loss_on_either_side(start):
    first, second = met_participants(start, make_clusters(worker=2), peer_timeout_s=4)
    second.process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)  # More than two beats.
    second.process.send_signal(signal.SIGCONT)
    second.send("wait_for_all 10")
    first.send("wait_for_all 10")
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
        errors = in_threads(lambda: first.wait_for_all(0.5), lambda: second.wait_for_all(0.5))
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
        participant.send("wait_for_all 10")
    for participant in participants:
        participant.await_line("wait_for_all 0")


def test_probe_reports_what_each_address_answers():
    clusters = make_clusters(worker=2)
    jobs = {"worker": (*clusters[0].jobs["worker"], "no.such.invalid:1", "192.0.2.1:9")}
    cluster = ClusterSpec(jobs, Task("worker", 3))
    with listening(jobs["worker"][1]):
        found = probe.probe(cluster, timeout_s=PATIENCE_S)
    assert found == {
        Task("worker", 0): "refused",
        Task("worker", 1): "answers",
        Task("worker", 2): "name does not resolve",
    }
    assert probe.probe(ClusterSpec()) == {}


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
    assert time.monotonic() - started < 2


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


def watch(membership):
    """A queue of the losses and returns that it reports."""
    reports = queue.Queue()
    membership.watch(lambda *loss: reports.put(loss), PATIENCE_S, reports.put)
    return reports


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
            assert again.token == chief.token
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


def test_closing_the_connections_to_an_address_leaves_those_to_others():
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        theirs, others = (
            stack.enter_context(socket.create_connection(address.split(":"), 5))
            for address in addresses
        )
        # As gRPC makes them.
        by_ipv6 = stack.enter_context(socket.socket(socket.AF_INET6))
        by_ipv6.settimeout(5)
        by_ipv6.connect(("::ffff:127.0.0.1", int(addresses[0].split(":")[1])))
        sockets.close_connections_to(addresses[0])
        assert theirs.recv(1) == by_ipv6.recv(1) == b""
        others.setblocking(False)
        with pytest.raises(BlockingIOError):
            others.recv(1)


SECRET, OTHER = b"a secret of many bytes", b"another of many bytes too"


def test_tasks_that_share_a_secret_meet_and_have_a_token_of_their_own():
    clusters = make_clusters(worker=3)
    memberships = in_threads(*(meet_later(one, secret=SECRET) for one in clusters))
    with all_met(make_clusters(worker=2)) as (without, _):
        tokens = {membership.token for membership in memberships}
        assert len(tokens) == 1 and without.token not in tokens
    for membership in memberships:
        membership.close()


@pytest.mark.parametrize("theirs", [OTHER, b""])
def test_all_tasks_name_the_one_that_does_not_know_the_secret_and_end_with_bad_input(theirs):
    first, second, third = make_clusters(worker=3)
    errors = in_threads(
        meet_later(first, timeout_s=2, secret=SECRET),
        meet_later(second, timeout_s=4, secret=SECRET),
        meet_later(third, timeout_s=4, secret=theirs),
    )
    assert [type(error) for error in errors] == 3 * [ClusterError]
    message = (
        "`--secret_file` must hold the same secret on every task. Received: {}; give every task the "
        "same file, or the same MUSTER_SECRET."
    )
    address = third.address(third.task)
    known = message.format(f"worker 2 at {address} does not know the secret of worker 0")
    unknown = message.format(
        "a caller from 127.0.0.1 that does not know the secret of worker 2, and no call from worker "
        "0, the leader"
    )
    assert [str(error) for error in errors] == [known, known, unknown]


def test_a_lost_task_that_returns_without_the_secret_is_rejected():
    clusters = make_clusters(chief=1, worker=2, ps=1)
    chief, first, *others = in_threads(*(meet_later(one, secret=SECRET) for one in clusters))
    reports = watch(chief)
    first.close()
    reports.get(timeout=PATIENCE_S)
    chief.reconnect(clusters[1].task)
    with pytest.raises(ClusterError, match="does not know the secret of worker 0"):
        meet_later(clusters[1], timeout_s=3, secret=OTHER)()
    meet_later(clusters[1], secret=SECRET)().close()
    for membership in (chief, *others):
        membership.close()


def test_only_the_leader_can_start_the_run():
    first, second = make_clusters(worker=2)
    outcomes = []
    waiting = threading.Thread(target=lambda: outcomes.extend(in_threads(meet_later(second))))
    waiting.start()
    host, port = second.address(second.task).split(":")
    with connected(host, int(port)) as other:
        introduction = {"task": ["worker", 1], "fingerprint": {}, "remaining_s": 60}
        connection = handshake.call(
            JsonConnection(other), b"", introduction, time.monotonic() + PATIENCE_S
        )
        connection.send({"verdict": "go", "run": "0"})
        assert other.recv(1) == b""
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
        held[-1].sendall(b'{"muster": "hello", "nonce": "0"}\\n'[: 40 * (len(held) % 2)])
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
        assert flood.stdout.readline() == "flooding\n"
        met = in_threads(meet_later(second, secret=SECRET), meet_later(first, secret=SECRET))
        flood.kill()
    for membership in met:
        membership.close()
