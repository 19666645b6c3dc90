"""Does the guardian end a blocked process? (Real processes, blocked as TensorFlow blocks them.)"""

import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

PATIENCE_S = 120.0
# PyDLL holds Python's lock during the call: no thread runs, and no signal handler is called.
CHILD = """
import ctypes, os, signal, socket, sys
from strategies.cluster.spec import Task
from trainer.process import guardian
peer = socket.socket(fileno=int(sys.argv[1]))
guarded = guardian.fork_child()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # As the trainer does.
peers = {Task("worker", 1): peer}
with guarded.watch_while_blocked("sleeping", float(sys.argv[2]), peers, float(sys.argv[3])):
    print(os.getpid(), flush=True)
    ctypes.PyDLL(None).sleep(int(sys.argv[4]))
sys.exit(7)
"""


class Blocked:
    """A guarded process that is blocked for `seconds`; this test is its only peer."""

    def __init__(self, timeout_s=60.0, silence_s=60.0, seconds=60):
        self.peer, theirs = socket.socketpair()
        args = [
            sys.executable,
            "-c",
            CHILD,
            *map(str, (theirs.fileno(), timeout_s, silence_s, seconds)),
        ]
        self.process = subprocess.Popen(
            args,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.child = int(self.process.stdout.readline())

    def end(self) -> tuple[int, str]:
        """The exit code and stderr. The child has ended by then, however the guardian ended."""
        with self.process, self.peer:
            _, output = self.process.communicate(timeout=PATIENCE_S)
        with pytest.raises(ProcessLookupError):
            os.kill(self.child, 0)
        return self.process.returncode, output


def test_the_exit_code_is_that_of_the_guarded_process():
    assert Blocked(seconds=0).end() == (7, "")


def test_a_peer_that_dies_is_named_although_the_process_is_blocked():
    blocked = Blocked()
    blocked.peer.close()
    assert blocked.end() == (
        75,
        "muster: error: worker 1 was lost (its connection closed) while sleeping; "
        "run the same command again to resume\n",
    )


def test_a_peer_that_is_silent_is_named():
    code, output = Blocked(silence_s=0.5).end()
    assert code == 75
    assert "worker 1 was lost (not heard from for 0.5 s) while sleeping" in output


def test_a_peer_that_sends_heartbeats_is_not_lost():
    blocked = Blocked(silence_s=4, seconds=7)
    while not select.select([blocked.process.stdout], [], [], 0.2)[0]:
        blocked.peer.send(b"beat\n")
        if blocked.process.poll() is not None:
            break
    assert blocked.end() == (7, "")


def test_a_guardian_that_was_suspended_watches_on():
    blocked = Blocked(seconds=2)
    blocked.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, blocked.process.pid, os.WSTOPPED | os.WNOWAIT)
    time.sleep(0.7)  # Longer than the time between two of its polls.
    blocked.process.send_signal(signal.SIGCONT)
    assert blocked.end() == (7, "")


def test_the_guardian_ends_the_process_at_the_deadline():
    assert "timed out after 0.5 s while sleeping" in Blocked(timeout_s=0.5).end()[1]


WITHOUT_PEERS = """
import sys, time
from trainer.process import guardian
guarded = guardian.fork_child()
with guarded.watch_while_blocked("sleeping", float(sys.argv[1]), {}, 60):
    time.sleep(float(sys.argv[2]))
sys.exit(7)
"""


@pytest.mark.parametrize(
    "timeout_s, seconds, code, output",
    [
        (60, 1.5, 7, ""),  # Longer than the time between two reports of the process.
        (
            0.5,
            60,
            75,
            "muster: error: timed out after 0.5 s while sleeping; "
            "run the same command again to resume\n",
        ),
    ],
)
def test_a_process_without_connections_is_guarded_by_the_deadline(timeout_s, seconds, code, output):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PEERS, str(timeout_s), str(seconds)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, output)


MANY_PEERS = """
import socket, sys, time
from strategies.cluster.spec import Task
from trainer.process import guardian
pairs = [socket.socketpair() for _ in range(260)]
guarded = guardian.fork_child()
peers = {Task("worker", index): ours for index, (ours, _) in enumerate(pairs)}
with guarded.watch_while_blocked("sleeping", 60, peers, 60):
    pairs[259][1].shutdown(socket.SHUT_RDWR)
    time.sleep(60)
"""


def test_more_peers_are_watched_than_fit_into_one_message():
    done = subprocess.run(
        [sys.executable, "-c", MANY_PEERS],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 75
    assert "worker 259 was lost (its connection closed) while sleeping" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_blocked_process_at_once(name):
    blocked = Blocked()
    began = time.monotonic()
    blocked.process.send_signal(signal.Signals[name])
    code, output = blocked.end()
    assert code == 75
    assert f"stopped by {name} while sleeping" in output
    assert time.monotonic() - began < 20  # Of the 60 it would sleep.


def test_a_process_that_is_killed_is_reported_with_its_signal():
    blocked = Blocked()
    os.kill(blocked.child, signal.SIGKILL)
    code, output = blocked.end()
    assert code == 128 + signal.SIGKILL
    assert "the task was killed by SIGKILL" in output


def test_the_guarded_process_ends_with_its_guardian():
    blocked = Blocked()
    blocked.peer.settimeout(PATIENCE_S)
    with blocked.process, blocked.peer:
        blocked.process.kill()
        assert blocked.peer.recv(1) == b""  # Its end of the connection closes with it.


EXITING = """
import ctypes, os, socket, sys
from strategies.cluster.spec import Task
from trainer.process import guardian
peer = socket.socket(fileno=int(sys.argv[1]))
guarded = guardian.fork_child()
with guarded.watch_while_blocked("sleeping", 60, {Task("worker", 1): peer}, 60):
    guarded.print_at_exit("muster: error: its own line")
    print("line sent", flush=True)
    if sys.argv[2] == "blocks":
        ctypes.PyDLL(None).sleep(60)  # As native code that takes the lock before the exit.
    os._exit(75)
"""


@pytest.mark.parametrize("how", ["exits", "blocks"])
def test_the_guardian_prints_the_line_of_the_process_instead_of_its_own(how):
    peer, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", EXITING, str(theirs.fileno()), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    with process:
        assert process.stdout.readline() == "line sent\n"
        peer.close()  # For which the guardian has a line of its own.
        _, output = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (75, "muster: error: its own line\n")
