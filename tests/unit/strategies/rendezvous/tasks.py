"""How do tests run the tasks of a roll call?

`all_met` runs them as threads of the test, `Participant` as processes. All are on loopback.
"""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.network.handshake import Handshake
from strategies.network.listener import AuthenticatingListener
from strategies.network.security import PLAIN
from strategies.rendezvous import follower, roll_call
from strategies.rendezvous.leader import Leader
from tests.paths import ROOT
from trainer.launch.ports import free_ports

PATIENCE_S = 60.0
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
        def watch(timeout_s):
            membership.watch(lambda task, reason: report(f"lost {task}: {reason}"), timeout_s)

        watch(peer_timeout_s)
        report("met")
        for line in sys.stdin:
            if line.startswith("watch"):
                watch(float(line.split()[1]))
                continue
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
    """A process that answers the roll call, then calls the methods of Membership named on stdin.

    After "watch SECONDS" a peer is lost that is silent for so long.
    """

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


def meet_later(cluster, fingerprint=FINGERPRINT, timeout_s=PATIENCE_S, security=PLAIN):
    return lambda: roll_call.meet(cluster, fingerprint, timeout_s, security)


def await_true(is_true):
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def await_calls(monkeypatch, results: dict[Task, str]):
    """No leader's deadline passes before its calls have these results, however slow the machine is.

    A result is "answers", or the reason of the last call that failed.
    """

    def result(leader, task):
        return "answers" if task in leader._answered else leader._reasons[task]

    def deadline(leader):
        is_due = all(result(leader, task) == expected for task, expected in results.items())
        return leader.__dict__["deadline"] + (0 if is_due else PATIENCE_S)

    def set_deadline(leader, at):
        leader.__dict__["deadline"] = at

    monkeypatch.setattr(Leader, "_deadline", property(deadline, set_deadline), raising=False)


def await_callers(monkeypatch, is_due):
    """No deadline for the leader's call passes before `is_due(listener)`, however slow the machine is."""

    class Patient(AuthenticatingListener):
        def next_caller(self, deadline):
            latest = deadline + PATIENCE_S
            while not (caller := super().next_caller(deadline)):
                if is_due(self) or deadline > latest:
                    return None
                deadline = time.monotonic() + 0.05
            return caller

    monkeypatch.setattr(follower, "AuthenticatingListener", Patient)


def call_as(task, connection, remaining_s=60, security=PLAIN):
    """The connection of a task, a list of job and index, that has called another one."""
    introduction = {"task": task, "fingerprint": {}, "remaining_s": remaining_s}
    handshake = Handshake(security, introduction, bool)
    return handshake.call(connection, time.monotonic() + PATIENCE_S).link


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


def connected(host, port):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection((host, port), PATIENCE_S)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def met_participants(start, clusters, **options):
    participants = [start(cluster, **options) for cluster in clusters]
    for participant in participants:
        participant.await_line("calling")
        participant.await_line("met")
    return participants


def watch(membership):
    """A queue of the losses and returns that it reports."""
    reports = queue.Queue()
    membership.watch(lambda *loss: reports.put(loss), PATIENCE_S, reports.put)
    return reports
