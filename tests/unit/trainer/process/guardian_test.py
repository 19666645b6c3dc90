"""A process that hears nothing is ended in its stead: real processes, deaf as TensorFlow makes them."""

import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

# PyDLL keeps Python's lock during the call: no thread runs and no handler is called meanwhile.
CHILD = """
import ctypes, os, signal, socket, sys
from strategies.cluster.spec import Task
from trainer.process import guardian as guard
peer = socket.socket(fileno=int(sys.argv[1]))
guarded = guard.split_off()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # As the trainer does.
with guarded.deaf("sleeping", float(sys.argv[2]), {Task("worker", 1): peer}, float(sys.argv[3])):
    print(os.getpid(), flush=True)
    ctypes.PyDLL(None).sleep(int(sys.argv[4]))
sys.exit(7)
"""


class Deaf:
    """A guarded process that is deaf for `seconds`, and this test as its only peer."""

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
        """The exit code and the screen. The child is gone by then, however the guard ended."""
        with self.process, self.peer:
            _, screen = self.process.communicate(timeout=30)
        with pytest.raises(ProcessLookupError):
            os.kill(self.child, 0)
        return self.process.returncode, screen


def test_the_exit_code_is_that_of_the_guarded_process():
    assert Deaf(seconds=0).end() == (7, "")


def test_a_peer_that_dies_is_named_although_the_process_is_deaf():
    deaf = Deaf()
    deaf.peer.close()
    assert deaf.end() == (
        75,
        "muster: error: worker 1 was lost (its connection closed) while sleeping; "
        "run the same command again to go on\n",
    )


def test_a_peer_that_has_gone_silent_is_named():
    code, screen = Deaf(silence_s=0.5).end()
    assert code == 75
    assert "worker 1 was lost (not heard from for 0.5 s) while sleeping" in screen


def test_a_peer_that_beats_is_not_lost():
    deaf = Deaf(silence_s=1.5, seconds=4)
    while not select.select([deaf.process.stdout], [], [], 0.2)[0]:
        deaf.peer.send(b"beat\n")
        if deaf.process.poll() is not None:
            break
    assert deaf.end() == (7, "")


def test_the_deadline_holds():
    assert "no end came within 0.5 s while sleeping" in Deaf(timeout_s=0.5).end()[1]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_deaf_process_at_once(name):
    deaf = Deaf()
    began = time.monotonic()
    deaf.process.send_signal(signal.Signals[name])
    code, screen = deaf.end()
    assert code == 75
    assert f"stopped by {name} while sleeping" in screen
    assert time.monotonic() - began < 20  # Of the 60 it would sleep.


def test_a_process_that_is_killed_is_reported_with_its_signal():
    deaf = Deaf()
    os.kill(deaf.child, signal.SIGKILL)
    code, screen = deaf.end()
    assert code == 128 + signal.SIGKILL
    assert "the task was killed by SIGKILL" in screen


def test_the_guarded_process_ends_with_its_guard():
    deaf = Deaf()
    deaf.peer.settimeout(30)
    with deaf.process, deaf.peer:
        deaf.process.kill()
        assert deaf.peer.recv(1) == b""  # Its end of the connection closes with it.


LEAVING = """
import ctypes, os, socket, sys
from strategies.cluster.spec import Task
from trainer.process import guardian as guard
peer = socket.socket(fileno=int(sys.argv[1]))
guarded = guard.split_off()
with guarded.deaf("sleeping", 60, {Task("worker", 1): peer}, 60):
    guarded.say_last("muster: error: its own words")
    print("left word", flush=True)
    if sys.argv[2] == "deaf":
        ctypes.PyDLL(None).sleep(60)  # As native code does that takes the lock between word and end.
    os._exit(75)
"""


@pytest.mark.parametrize("how", ["ends", "deaf"])
def test_a_process_that_left_word_is_not_spoken_for(how):
    peer, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVING, str(theirs.fileno()), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    with process:
        assert process.stdout.readline() == "left word\n"
        peer.close()  # For which the guard would have words of its own.
        _, screen = process.communicate(timeout=30)
    assert (process.returncode, screen) == (75, "muster: error: its own words\n")
